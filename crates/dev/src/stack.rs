//! Everything on one machine: a private Postgres, local files, an issuer, and the service itself.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Context;
use print_upload::{
    config::Config,
    listen::Drained,
    server::{Listeners, Server},
    store,
};
use print_upload_client::{self as client, Client, Credential};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    certificate::ThrowAwayCertificate,
    issuer::{AUDIENCE, TokenIssuer},
    page::Page,
    postgres::{Cluster, Durability},
    private_file,
    sample::{self, Sample},
};

/// How to run a stack.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Address to serve gRPC on.
    pub listen: SocketAddr,
    /// Address to serve REST on.
    pub rest_listen: SocketAddr,
    /// Whether both are served over TLS, with a certificate of a throw-away authority.
    pub tls: bool,
    /// Whether the REST address serves the page as well. It has tokens, so it is served on a loopback address only.
    pub page: bool,
    pub durability: Durability,
}

impl Options {
    /// Without TLS and without the page, on free ports.
    pub fn anywhere(durability: Durability) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { listen: free, rest_listen: free, tls: false, page: false, durability }
    }
}

/// A running stack. All its data are in its data folder.
#[derive(Debug)]
pub struct Stack {
    /// The address of gRPC.
    pub address: SocketAddr,
    /// The base of every REST path.
    pub rest_url: String,
    /// Whether the page is served.
    pub has_page: bool,
    /// The variables of `dev.env`: what people and programs need to call the service.
    pub variables: Vec<(&'static str, String)>,
    data_dir: PathBuf,
    cluster: Cluster,
    issuing: Running<()>,
    serving: Running<Drained>,
}

/// A task of the stack, and how to stop it.
#[derive(Debug)]
struct Running<T> {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<T>>,
}

impl Stack {
    /// Starts the stack with the data in `data_dir`, or with new ones.
    pub async fn start(data_dir: &Path, options: Options) -> anyhow::Result<Self> {
        fs::create_dir_all(data_dir).with_context(|| format!("--data-dir {}", data_dir.display()))?;
        let data_dir = fs::canonicalize(data_dir)?;
        let cluster = start_postgres(&data_dir, options.durability).await?;
        let (issuer, issuing) = start_issuer(&data_dir).await?;
        let certificate = make_certificate(&data_dir, options.tls)?;
        let (grpc, rest) = listen(options).await?;
        let address = grpc.local_addr()?;
        let rest_address = rest.local_addr()?;
        let rest_url = format!("{}://{rest_address}", scheme(certificate.as_ref()));
        let config = config(&data_dir, cluster.url(), &issuer.address, &rest_url, certificate.as_ref())?;
        let has_page = options.page && rest_address.ip().is_loopback();
        let page = has_page.then(|| Page::new(issuer.clone(), bytes_folder(&data_dir), rest_address, options.tls));
        let serving = start_service(&config, Listeners { grpc, rest: Some(rest), admin: None }, page).await?;
        let tokens = sample::tokens(&issuer)?;
        let sample = push_sample(address, certificate.as_ref(), &tokens).await?;

        let mut variables = variables(address, &rest_url, cluster.url(), &issuer.address, &sample, tokens);
        variables.extend(certificate.map(|certificate| ("CA_CERT", certificate.ca_file().display().to_string())));
        let stack = Self { address, rest_url, has_page, variables, data_dir, cluster, issuing, serving };
        private_file::write(&stack.env_file(), stack.env_lines().as_bytes())?;
        Ok(stack)
    }

    /// The file with the variables, a line `KEY=value` each. Only its owner may read it.
    pub fn env_file(&self) -> PathBuf {
        self.data_dir.join("dev.env")
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> anyhow::Result<&str> {
        lookup(&self.variables, name)
    }

    /// The folder that holds the documents' bytes.
    pub fn bytes_folder(&self) -> PathBuf {
        bytes_folder(&self.data_dir)
    }

    /// The same folder, as `serve --store` names it.
    pub fn store_url(&self) -> anyhow::Result<Url> {
        store_url(&self.data_dir)
    }

    /// Waits until the service ends by itself. It does so only when it fails.
    pub async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.serving.task).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) => anyhow::anyhow!("the service has stopped"),
            Err(error) => error.into(),
        }
    }

    /// Stops everything: the service first, Postgres last.
    pub async fn stop(self) -> anyhow::Result<Drained> {
        let drained = self.serving.stop().await;
        self.issuing.stop().await?;
        self.cluster.stop().await?;
        drained
    }

    fn env_lines(&self) -> String {
        self.variables.iter().fold(String::new(), |mut lines, (name, value)| {
            let _ = writeln!(lines, "{name}={value}");
            lines
        })
    }
}

impl<T> Running<T> {
    async fn stop(self) -> anyhow::Result<T> {
        self.stop.cancel();
        self.task.await?
    }
}

async fn start_postgres(data_dir: &Path, durability: Durability) -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(&data_dir.join("postgres"), durability).await?;
    store::migrate(cluster.url(), None).await.context("migrating")?;
    Ok(cluster)
}

async fn start_issuer(data_dir: &Path) -> anyhow::Result<(TokenIssuer, Running<()>)> {
    let listener = listen_on_last_port(&data_dir.join("issuer-port")).await?;
    let issuer = TokenIssuer::open(data_dir, listener.local_addr()?)?;
    issuer.write_address(data_dir)?;
    let stop = CancellationToken::new();
    let task = tokio::spawn(issuer.clone().serve(listener, stop.clone()));
    Ok((issuer, Running { stop, task }))
}

/// Listens on the port of the last start: the issuer's address in older tokens contains it. On a free port when that
/// one is taken.
async fn listen_on_last_port(port_file: &Path) -> anyhow::Result<TcpListener> {
    let last_port = fs::read_to_string(port_file).ok().and_then(|port| port.trim().parse().ok()).unwrap_or(0);
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, last_port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the issuer's port")?,
    };
    fs::write(port_file, listener.local_addr()?.port().to_string())?;
    Ok(listener)
}

fn make_certificate(data_dir: &Path, tls: bool) -> anyhow::Result<Option<ThrowAwayCertificate>> {
    tls.then(|| ThrowAwayCertificate::make(&data_dir.join("tls"))).transpose()
}

async fn listen(options: Options) -> anyhow::Result<(TcpListener, TcpListener)> {
    let Options { listen, rest_listen, .. } = options;
    let grpc = TcpListener::bind(listen).await.with_context(|| format!("--listen {listen}"))?;
    let rest = TcpListener::bind(rest_listen).await.with_context(|| format!("--rest-listen {rest_listen}"))?;
    Ok((grpc, rest))
}

fn bytes_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("bytes")
}

fn store_url(data_dir: &Path) -> anyhow::Result<Url> {
    Url::from_file_path(bytes_folder(data_dir)).map_err(|()| anyhow::anyhow!("not an absolute path"))
}

fn scheme(certificate: Option<&ThrowAwayCertificate>) -> &'static str {
    if certificate.is_some() { "https" } else { "http" }
}

fn config(
    data_dir: &Path,
    database_url: &str,
    issuer: &str,
    public_url: &str,
    certificate: Option<&ThrowAwayCertificate>,
) -> anyhow::Result<Config> {
    let key = private_file::load_or_create(&data_dir.join("upload-token-key"), private_file::random_secret)?;
    let config = Config::from_flags([
        ("database-url", database_url),
        ("store", store_url(data_dir)?.as_str()),
        ("issuer", issuer),
        ("audience", AUDIENCE),
        ("public-url", public_url),
        ("catalog-client", sample::CATALOG_CLIENT),
        ("upload-token-key", std::str::from_utf8(&key)?),
        // Nobody's balancer needs to notice.
        ("shutdown-delay", "0s"),
    ])?;
    Ok(Config { tls: certificate.map(ThrowAwayCertificate::files).unwrap_or_default(), ..config })
}

async fn start_service(config: &Config, listeners: Listeners, page: Option<Page>) -> anyhow::Result<Running<Drained>> {
    let server = Server::new(config).await?;
    server.check().await?;
    let stop = CancellationToken::new();
    let around_rest = |rest| match page {
        Some(page) => page.beside(rest),
        None => rest,
    };
    let task = tokio::spawn(server.serve_with(listeners, around_rest, stop.clone().cancelled_owned()));
    Ok(Running { stop, task })
}

async fn push_sample(
    address: SocketAddr,
    certificate: Option<&ThrowAwayCertificate>,
    tokens: &[(&'static str, String)],
) -> anyhow::Result<Sample> {
    let ca = certificate.map(|certificate| certificate.ca_pem.as_bytes());
    let transport = client::connect(&[format!("{}://{address}", scheme(certificate))], ca)?;
    let mut client = Client::over(transport, Credential::access_token(lookup(tokens, "CATALOG_TOKEN")?)?);
    let sample = Sample::new();
    sample.catalog.push(&mut client).await.context("pushing the sample catalog")?;
    Ok(sample)
}

fn variables(
    address: SocketAddr,
    rest_url: &str,
    database_url: &str,
    issuer: &str,
    sample: &Sample,
    tokens: Vec<(&'static str, String)>,
) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("GRPC_ADDR", address.to_string()),
        ("REST_URL", rest_url.to_owned()),
        ("DATABASE_URL", database_url.to_owned()),
        ("ISSUER", issuer.to_owned()),
        ("AUDIENCE", AUDIENCE.to_owned()),
        ("TENANT", sample::TENANT.to_string()),
        ("PRINTER", sample::PRINTER.to_owned()),
        ("SHARE", sample::SHARE.to_owned()),
        ("JOB", sample.job.0.clone()),
        ("DOCUMENT", sample.job.1.to_string()),
        ("DOCUMENT_NAME", Sample::document_name(&sample.job)),
        ("SECOND_DOCUMENT_NAME", Sample::document_name(&sample.second_job)),
    ];
    // The token that the command line presents by default.
    let owner = lookup(&tokens, "OWNER_TOKEN").map(|token| ("PRINT_UPLOAD_TOKEN", token.to_owned()));
    variables.extend(owner);
    variables.extend(tokens);
    variables
}

/// The value of a variable, or a token by its name.
pub(crate) fn lookup<'a>(variables: &'a [(&'static str, String)], name: &str) -> anyhow::Result<&'a str> {
    let found = variables.iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| value.as_str()).with_context(|| format!("no variable {name}"))
}
