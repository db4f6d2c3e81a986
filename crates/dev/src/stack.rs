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
use uuid::Uuid;

use super::{
    certificate::ThrowAwayCertificate,
    issuer::{AUDIENCE, TokenIssuer},
    postgres::{Cluster, Durability},
    private_file,
    sample::{self, Sample},
};

/// How a stack is to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Where to serve gRPC.
    pub listen: SocketAddr,
    /// Where to serve REST.
    pub rest_listen: SocketAddr,
    /// Whether both speak TLS, with a certificate of a throw-away authority.
    pub tls: bool,
    /// Whether Postgres syncs what it writes.
    pub durability: Durability,
}

impl Options {
    /// Plain text, on whatever ports are free.
    pub fn anywhere(durability: Durability) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { listen: free, rest_listen: free, tls: false, durability }
    }
}

/// A running stack. What it keeps is all under its data folder.
#[derive(Debug)]
pub struct Stack {
    /// Where gRPC is served.
    pub address: SocketAddr,
    /// The base of every REST path.
    pub rest_url: String,
    /// The sample catalog, as it was pushed.
    pub sample: Sample,
    /// The lines of `dev.env`: what a person or a program needs to call the service.
    pub variables: Vec<(&'static str, String)>,
    data_dir: PathBuf,
    cluster: Cluster,
    stop_serving: CancellationToken,
    serving: JoinHandle<anyhow::Result<Drained>>,
    stop_issuer: CancellationToken,
    issuing: JoinHandle<anyhow::Result<()>>,
}

impl Stack {
    /// Starts the stack on what `data_dir` holds, or from nothing.
    pub async fn start(data_dir: &Path, options: Options) -> anyhow::Result<Self> {
        fs::create_dir_all(data_dir).with_context(|| format!("--data-dir {}", data_dir.display()))?;
        let data_dir = fs::canonicalize(data_dir)?;
        let cluster = Cluster::start(&data_dir.join("postgres"), options.durability).await?;
        store::migrate(cluster.url(), None).await.context("migrating")?;

        let issuer_listener = listen_as_before(&data_dir.join("issuer-port")).await?;
        let issuer = TokenIssuer::open(&data_dir, issuer_listener.local_addr()?)?;
        issuer.write_address(&data_dir)?;
        let stop_issuer = CancellationToken::new();
        let issuing = tokio::spawn(issuer.clone().serve(issuer_listener, stop_issuer.clone()));

        let certificate = if options.tls { Some(ThrowAwayCertificate::make(&data_dir.join("tls"))?) } else { None };
        let Options { listen, rest_listen, .. } = options;
        let grpc = TcpListener::bind(listen).await.with_context(|| format!("--listen {listen}"))?;
        let rest = TcpListener::bind(rest_listen).await.with_context(|| format!("--rest-listen {rest_listen}"))?;
        let address = grpc.local_addr()?;
        let scheme = if options.tls { "https" } else { "http" };
        let rest_url = format!("{scheme}://{}", rest.local_addr()?);
        let config = config(&data_dir, cluster.url(), &issuer.address, &rest_url)?;
        let config =
            Config { tls: certificate.as_ref().map(ThrowAwayCertificate::files).unwrap_or_default(), ..config };
        let server = Server::new(&config)?;
        let stop_serving = CancellationToken::new();
        let listeners = Listeners { grpc, rest: Some(rest), admin: None };
        let serving = tokio::spawn(server.serve(listeners, stop_serving.clone().cancelled_owned()));

        let sample = Sample::new();
        let tokens = sample::tokens(&issuer)?;
        let ca = certificate.as_ref().map(|certificate| certificate.ca_pem.as_bytes());
        let transport = client::connect(&[format!("{scheme}://{address}")], ca)?;
        let mut client = Client::over(transport, Credential::access_token(lookup(&tokens, "CATALOG_TOKEN")?)?);
        sample.catalog.push(&mut client).await.context("pushing the sample catalog")?;

        let mut variables = variables(address, &rest_url, cluster.url(), &issuer.address, &sample, tokens);
        variables.extend(certificate.map(|certificate| ("CA_CERT", certificate.ca_file().display().to_string())));
        let stack = Self {
            address,
            rest_url,
            sample,
            variables,
            data_dir,
            cluster,
            stop_serving,
            serving,
            stop_issuer,
            issuing,
        };
        private_file::write(&stack.env_file(), stack.env_lines().as_bytes())?;
        Ok(stack)
    }

    /// Where the variables are written to, `KEY=value` a line, mode 0600.
    pub fn env_file(&self) -> PathBuf {
        self.data_dir.join("dev.env")
    }

    /// One of the variables.
    pub fn variable(&self, name: &str) -> anyhow::Result<&str> {
        lookup(&self.variables, name)
    }

    /// The folder that holds the documents' bytes.
    pub fn bytes_folder(&self) -> PathBuf {
        bytes_folder(&self.data_dir)
    }

    /// Waits until the service ends by itself, which it does only when something is wrong.
    pub async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.serving).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) => anyhow::anyhow!("the service has stopped"),
            Err(error) => error.into(),
        }
    }

    /// Stops everything: the service first, Postgres last.
    pub async fn stop(self) -> anyhow::Result<Drained> {
        self.stop_serving.cancel();
        let drained = self.serving.await?;
        self.stop_issuer.cancel();
        self.issuing.await??;
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

fn bytes_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("bytes")
}

fn config(data_dir: &Path, database_url: &str, issuer: &str, public_url: &str) -> anyhow::Result<Config> {
    let key = private_file::load_or_create(&data_dir.join("upload-token-key"), || {
        Ok(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()).into_bytes())
    })?;
    let store =
        url::Url::from_file_path(bytes_folder(data_dir)).map_err(|()| anyhow::anyhow!("not an absolute path"))?;
    Config::from_flags([
        ("database-url", database_url),
        ("store", store.as_str()),
        ("issuer", issuer),
        ("audience", AUDIENCE),
        ("public-url", public_url),
        ("catalog-client", sample::CATALOG_CLIENT),
        ("upload-token-key", std::str::from_utf8(&key)?),
    ])
}

/// Listens on the port that is written down, so that tokens of an earlier start still name this issuer; on a free one
/// when that is taken.
async fn listen_as_before(port_file: &Path) -> anyhow::Result<TcpListener> {
    let before = fs::read_to_string(port_file).ok().and_then(|port| port.trim().parse().ok()).unwrap_or(0);
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, before)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the issuer's port")?,
    };
    fs::write(port_file, listener.local_addr()?.port().to_string())?;
    Ok(listener)
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
    // What the command line shows unless it is told otherwise.
    let owner =
        tokens.iter().find(|(name, _)| *name == "OWNER_TOKEN").map(|(_, token)| ("PRINT_UPLOAD_TOKEN", token.clone()));
    variables.extend(owner);
    variables.extend(tokens);
    variables
}

fn lookup<'a>(variables: &'a [(&'static str, String)], name: &str) -> anyhow::Result<&'a str> {
    let found = variables.iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| value.as_str()).with_context(|| format!("no variable {name}"))
}
