//! `print-upload catalog apply FILE`.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    catalog,
    client::{Client, Credential},
};

/// Maintain the catalog.
#[derive(Debug, Args)]
pub(super) struct Catalog {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Push every tenant, printer, share, job and task in a JSON file. Repeating it changes nothing.
    Apply {
        /// JSON: {"tenants": […], "printers": […], "shares": […], "jobs": […], "tasks": […]}, each entry in the JSON form
        /// of its message in print_catalog.proto.
        file: PathBuf,

        /// Where the service is.
        #[arg(long, env = "GRPC_ADDR", default_value = "127.0.0.1:50051")]
        server: String,

        /// Access token of an application that maintains the catalog.
        #[arg(long, env = "CATALOG_TOKEN", hide_env_values = true)]
        token: SecretString,
    },
}

impl Catalog {
    /// Does it.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Action::Apply { file, server, token } = self.action;
        let json = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let catalog = catalog::Catalog::from_json(&json).with_context(|| file.display().to_string())?;
        let endpoint = if server.contains("://") { server } else { format!("http://{server}") };
        let mut client = Client::new(&endpoint, Credential::access_token(token.expose_secret())?)?;
        let pushed = catalog.push(&mut client).await?;
        println!("{pushed} entries pushed");
        Ok(())
    }
}
