//! What is measured: the program as a process of its own, on a durable Postgres and on local files.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use print_upload_client::{Client, Credential};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{fill::Documents, load::Target};
use crate::{
    ScratchFolder,
    issuer::{AUDIENCE, TokenIssuer},
    postgres::{Cluster, Durability},
    process::{Process, Start},
    sample,
    stack::lookup,
};

/// The database of a new cluster.
const DATABASE: &str = "print_upload";

/// The metric of the ranges that a replica is receiving.
pub const WRITERS: &str = "print_upload_writers ";

/// Postgres, the issuer, and a folder for everything.
pub struct System {
    program: PathBuf,
    folder: ScratchFolder,
    cluster: Cluster,
    issuer: TokenIssuer,
    token: String,
    issuing: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
}

/// A running `serve`. It is killed when this is dropped.
pub struct Service {
    pub grpc: SocketAddr,
    pub rest: SocketAddr,
    pub admin: SocketAddr,
    pub process: Process,
    token: String,
}

/// How a `serve` differs from the usual one.
#[derive(Debug, Clone, Copy)]
pub struct ServeOptions<'a> {
    pub name: &'static str,
    pub database: &'a str,
    /// Instead of the files.
    pub store: Option<&'a str>,
    /// Flags besides the necessary ones.
    pub flags: &'a [String],
    /// Whether all calls are those of one user.
    pub is_of_one_user: bool,
}

impl Default for ServeOptions<'_> {
    fn default() -> Self {
        Self { name: "service", database: DATABASE, store: None, flags: &[], is_of_one_user: true }
    }
}

impl System {
    /// Starts Postgres and the issuer.
    pub async fn start(program: &Path) -> anyhow::Result<Self> {
        let folder = ScratchFolder::new("bench")?;
        let cluster = Cluster::start(&folder.path().join("postgres"), Durability::Durable).await?;
        print_upload::store::migrate(cluster.url(), None).await?;
        fs::create_dir(folder.path().join("store"))?;
        let stop = CancellationToken::new();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let issuer = TokenIssuer::open(folder.path(), listener.local_addr()?)?;
        let token = lookup(&sample::tokens(&issuer)?, "OWNER_TOKEN")?.to_owned();
        let issuing = tokio::spawn(issuer.clone().serve(listener, stop.clone()));
        Ok(Self { program: program.into(), folder, cluster, issuer, token, issuing, stop })
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.issuing.await??;
        self.cluster.stop().await
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Signs tokens that the services accept, of any caller.
    pub fn issuer(&self) -> &TokenIssuer {
        &self.issuer
    }

    /// The folder of the tenant's objects.
    pub fn objects(&self) -> PathBuf {
        self.folder().join("store").join(sample::TENANT.to_string())
    }

    pub fn postgres_log(&self) -> PathBuf {
        self.folder().join("postgres/postgres.log")
    }

    pub fn database_url(&self, database: &str) -> anyhow::Result<String> {
        let mut url = url::Url::parse(self.cluster.url())?;
        url.set_path(database);
        Ok(url.into())
    }

    /// Connects to the usual database.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        self.connect_to(DATABASE).await
    }

    pub async fn connect_to(&self, database: &str) -> anyhow::Result<PgConnection> {
        // Statements that fill a database are slow.
        let options: PgConnectOptions = self.database_url(database)?.parse()?;
        Ok(PgConnection::connect_with(&options.disable_statement_logging()).await?)
    }

    /// Makes another database, with the schema.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<()> {
        sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut self.connect().await?).await?;
        Ok(print_upload::store::migrate(&self.database_url(name)?, None).await?)
    }

    pub async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        let drop = format!("drop database if exists {name} with (force)");
        sqlx::query(AssertSqlSafe(drop)).execute(&mut self.connect().await?).await?;
        Ok(())
    }

    /// The usual `serve`: nothing but what is necessary differs from the defaults.
    pub async fn serve(&self) -> anyhow::Result<Service> {
        self.serve_with(ServeOptions::default()).await
    }

    pub async fn serve_with(&self, options: ServeOptions<'_>) -> anyhow::Result<Service> {
        let mut arguments = self.arguments(options)?;
        for listener in ["listen", "rest-listen", "admin-listen"] {
            arguments.push(format!("--{listener}=127.0.0.1:0"));
        }
        let start = Start {
            program: self.program.clone(),
            arguments,
            name: options.name,
            log_folder: self.folder().to_owned(),
        };
        let (process, addresses) = start.run(&["serving", "serving REST", "serving operators"]).await?;
        let [grpc, rest, admin] = addresses[..] else { return Err(anyhow!("three addresses")) };
        let service = Service { grpc, rest, admin, process, token: self.token.clone() };
        // The first call waits for the issuer's keys, if it comes before them.
        service.wait_until_ready().await?;
        Ok(service)
    }

    /// The arguments of `serve`, without its addresses.
    pub fn arguments(&self, options: ServeOptions<'_>) -> anyhow::Result<Vec<String>> {
        let files = url::Url::from_file_path(self.folder().join("store")).map_err(|()| anyhow!("not absolute"))?;
        let store = options.store.unwrap_or(files.as_str());
        let mut arguments = vec![
            "serve".into(),
            format!("--database-url={}", self.database_url(options.database)?),
            format!("--store={store}"),
            format!("--issuer={}", self.issuer.address),
            format!("--audience={AUDIENCE}"),
            "--upload-token-key=a key that signs the upload URLs of a measurement".into(),
        ];
        if options.is_of_one_user {
            arguments.push("--fair-transfers=false".into());
        }
        arguments.extend_from_slice(options.flags);
        Ok(arguments)
    }

    /// Empties the usual database, and writes its dirty pages: no row pays for an earlier one.
    pub async fn reset(&self) -> anyhow::Result<Documents> {
        let documents = Documents::of(self.connect().await?).await?;
        fs::remove_dir_all(self.objects()).or_else(ignore_not_found)?;
        Ok(documents)
    }
}

fn ignore_not_found(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

impl Service {
    /// Callers of the service over gRPC.
    pub fn target(&self, connections: usize, callers: usize) -> Target {
        Target { address: self.grpc, token: self.token.clone(), connections, callers }
    }

    /// A client for what is not measured.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::new(&format!("http://{}", self.grpc), Credential::access_token(&self.token)?)
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        super::wait_until("readiness", async || Ok(operators_page(self.admin, "/readyz").await.is_ok())).await
    }
}

/// Waits until a metric has at least this value.
pub async fn wait_for_metric(admin: SocketAddr, name: &str, value: f64) -> anyhow::Result<()> {
    super::wait_until("a metric", async || {
        let metrics = operators_page(admin, "/metrics").await?;
        let mut values = metrics.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        Ok(values.any(|found| found >= value))
    })
    .await
}

pub async fn operators_page(admin: SocketAddr, path: &str) -> anyhow::Result<String> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let response = http.get(format!("http://{admin}{path}")).send().await?;
    response.error_for_status()?.text().await.context("an operators' page")
}
