//! The command line: parse, then call one function.

mod catalog;
mod completions;
mod demo;
mod dev;
mod gateway;
mod healthcheck;
mod issuer;
mod man;
mod remote;
mod sample_document;
mod serve;
mod smoke;
mod token;
mod with_postgres;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};
use nix::unistd::geteuid;
use secrecy::ExposeSecret;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::Config,
    secret_files::DatabaseUrl,
    store,
    telemetry::{self, Logs},
};

/// Upload sessions of print jobs, over gRPC: create, send byte ranges, look, resume, and delete to cancel for good.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    /// Log as JSON lines, not as text.
    #[arg(long, env = "LOG_JSON", global = true)]
    log_json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Upload a file to a document, or what is missing of it.
    Upload(remote::Upload),
    /// Tell how far an upload has come, or how it has ended.
    Status(remote::Status),
    /// Follow an upload until it has ended.
    Watch(remote::Watch),
    /// Cancel an upload, for good.
    Cancel(remote::Cancel),
    /// Download a document.
    Download(remote::Download),
    /// Run everything on this machine: Postgres, local files, a token issuer, a sample catalog, the service.
    Dev(dev::Dev),
    /// Show the life of an upload, from its creation to its cancel, on scratch data.
    Demo,
    /// Serve gRPC, and REST beside it with --rest-listen.
    Serve(Box<Config>),
    /// Serve REST in front of a gRPC service that runs elsewhere.
    Gateway(gateway::Gateway),
    /// Bring the database to this program's schema.
    Migrate {
        #[command(flatten)]
        database: DatabaseUrl,

        /// Folder with other migrations than this program's own: those of a change that does not compile yet.
        #[arg(long, hide = true)]
        source: Option<PathBuf>,
    },
    /// Ask whether a service serves; the exit status is the answer.
    Healthcheck(healthcheck::Healthcheck),
    /// Check a running stack from outside: upload, delete, download, through both doors.
    Smoke(smoke::Smoke),
    /// Run the development issuer alone, over https.
    Issuer(issuer::Issuer),
    /// Mint a token of the development issuer.
    Token(token::Token),
    /// Maintain the catalog.
    Catalog(catalog::Catalog),
    /// Print a shell's completions.
    Completions(completions::Completions),
    /// Write the manual.
    Man(man::Man),
    /// Run a command with DATABASE_URL set to a throw-away Postgres, unless it is set already.
    WithPostgres {
        /// The command and its arguments.
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
}

impl Cli {
    /// Does what the command line says. Answers what came of it, and the log, to be flushed when nothing runs any more: what is
    /// cut at the end has its lines as well.
    pub async fn run(self) -> anyhow::Result<(anyhow::Result<ExitCode>, Logs)> {
        let (service, telemetry) = match &self.command {
            Command::Serve(config) => ("print-upload", Some(&config.telemetry)),
            Command::Gateway(gateway) => ("print-upload-gateway", Some(&gateway.telemetry)),
            _ => ("print-upload", None),
        };
        let otlp_endpoint = telemetry.and_then(|telemetry| telemetry.otlp_endpoint.as_deref());
        let (logs, traces) = telemetry::init(self.log_json, self.command.log_level(), service, otlp_endpoint)?;
        let done = self.command.run().await;
        traces.flush().await;
        Ok((done, logs))
    }
}

impl Command {
    /// What to log unless `RUST_LOG` says. Some commands are read by people, from top to bottom.
    fn log_level(&self) -> &'static str {
        match self {
            Self::Demo | Self::Upload(_) | Self::Status(_) | Self::Watch(_) | Self::Cancel(_) | Self::Download(_) => {
                "warn"
            }
            _ => "info",
        }
    }

    async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Upload(upload) => return Ok(upload.run().await),
            Self::Status(status) => return Ok(status.run().await),
            Self::Watch(watch) => return Ok(watch.run().await),
            Self::Cancel(cancel) => return Ok(cancel.run().await),
            Self::Download(download) => return Ok(download.run().await),
            Self::Completions(completions) => completions.run()?,
            Self::Man(man) => man.run()?,
            Self::Dev(dev) => dev.run().await?,
            Self::Demo => demo::run().await?,
            Self::Serve(config) => serve::run(&config).await?,
            Self::Gateway(gateway) => gateway.run().await?,
            Self::Migrate { database, source } => {
                store::migrate(database.read()?.expose_secret(), source.as_deref()).await.context("migrating")?;
            }
            Self::Healthcheck(healthcheck) => healthcheck.run().await?,
            Self::Smoke(smoke) => smoke.run().await?,
            Self::Issuer(issuer) => issuer.run().await?,
            Self::Token(token) => token.run()?,
            Self::Catalog(catalog) => catalog.run().await?,
            Self::WithPostgres { command } => return with_postgres::run(command).await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Waits until the program is asked to end.
async fn asked_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listening for SIGINT")?,
    }
    Ok(())
}

/// Where the embedded default keeps its data: `/var/lib/print-upload` for root, else below `$XDG_DATA_HOME`.
fn default_data_dir() -> anyhow::Result<PathBuf> {
    if geteuid().is_root() {
        return Ok("/var/lib/print-upload".into());
    }
    let data_home = std::env::var_os("XDG_DATA_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let below_home = || std::env::home_dir().map(|home| home.join(".local/share"));
    let data_home = data_home.or_else(below_home).context("there is no home folder: say --data-dir")?;
    Ok(data_home.join("print-upload"))
}
