//! The command line: parse, then call one function.

mod catalog;
mod completions;
mod gateway;
mod healthcheck;
mod man;
mod remote;
mod serve;

pub use remote::ServiceAddress;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};
use secrecy::ExposeSecret;

use crate::{
    config::Config,
    secret_files::DatabaseUrl,
    store,
    telemetry::{self, Logs},
};

/// Upload sessions of print jobs, over gRPC: create them, send byte ranges, get their state, resume, and delete to cancel for
/// good.
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
    /// Upload a file to a document, or what the document is still missing.
    Upload(remote::Upload),
    /// Print how far an upload has come, or how it has ended.
    Status(remote::Status),
    /// Follow an upload until it has ended.
    Watch(remote::Watch),
    /// Cancel an upload, for good.
    Cancel(remote::Cancel),
    /// Download a document.
    Download(remote::Download),
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
    /// Check whether a service serves; the exit status shows it.
    Healthcheck(healthcheck::Healthcheck),
    /// Maintain the catalog.
    Catalog(catalog::Catalog),
    /// Print a shell's completions.
    Completions(completions::Completions),
    /// Write the manual.
    Man(man::Man),
}

impl Cli {
    /// Runs the command. Returns its exit code or its error, and the log. The log is to be flushed last: calls that are cut at
    /// the end are logged too.
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
    /// The level to log at without `RUST_LOG`. Commands whose output people read log less.
    fn log_level(&self) -> &'static str {
        match self {
            Self::Upload(_) | Self::Status(_) | Self::Watch(_) | Self::Cancel(_) | Self::Download(_) => "warn",
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
            Self::Serve(config) => serve::run(&config).await?,
            Self::Gateway(gateway) => gateway.run().await?,
            Self::Migrate { database, source } => {
                store::migrate(database.read()?.expose_secret(), source.as_deref()).await.context("migrating")?;
            }
            Self::Healthcheck(healthcheck) => healthcheck.run().await?,
            Self::Catalog(catalog) => catalog.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
