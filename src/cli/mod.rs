//! The command line: parse, then call one function.

mod catalog;
mod completions;
mod gateway;
mod healthcheck;
mod man;
mod remote;
mod serve;
mod store_command;
mod tenant;

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

/// Upload the documents of print jobs, resume and cancel uploads, download documents; or run the service that receives
/// them.
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
    /// Upload a file to a document. After an interruption, run the command again: it resumes the upload.
    Upload(remote::Upload),
    /// Print how far an upload has come, or how it has ended.
    Status(remote::Status),
    /// Follow an upload until it has ended.
    Watch(remote::Watch),
    /// Cancel an upload: a canceled upload cannot be resumed.
    Cancel(remote::Cancel),
    /// Download a document.
    Download(remote::Download),
    /// Run the service: gRPC and, with --rest-listen, REST.
    Serve(Box<Config>),
    /// Run the REST gateway alone, in front of a service that runs elsewhere.
    Gateway(gateway::Gateway),
    /// Create or update the database's schema, as this version of `serve` needs it.
    Migrate {
        #[command(flatten)]
        database: DatabaseUrl,

        /// Folder of migrations to run instead of those in this program: for a change that does not compile yet.
        #[arg(long, hide = true)]
        source: Option<PathBuf>,
    },
    /// Check whether a service is ready for calls: exit code 0 if it is, else 1.
    Healthcheck(healthcheck::Healthcheck),
    /// Change which object store the database belongs to.
    Store(store_command::StoreCommand),
    /// Delete a tenant with everything that was stored for it.
    Tenant(tenant::TenantCommand),
    /// Maintain the catalog: tenants, printers, shares, print jobs and print tasks.
    Catalog(catalog::Catalog),
    /// Print a script that completes this program's commands in a shell.
    Completions(completions::Completions),
    /// Print or write the manual pages.
    Man(man::Man),
}

impl Cli {
    /// Runs the command. Returns its exit code or its error, and the log. Flush the log last: calls that are cut at the
    /// end are logged too.
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
            Self::Store(store) => store.run().await?,
            Self::Tenant(tenant) => return tenant.run().await,
            Self::Catalog(catalog) => catalog.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
