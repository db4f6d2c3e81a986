//! `print-upload catalog apply FILE`.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use print_upload_client::{Client, Credential};
use secrecy::{ExposeSecret, SecretString};

use super::remote::ServiceAddress;
use crate::catalog;

/// The commands about the catalog.
#[derive(Debug, Args)]
pub(super) struct Catalog {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Push every tenant, printer, share, print job and print task in a JSON file. Repeating it changes nothing.
    Apply {
        /// JSON file: {"tenants": […], "printers": […], "shares": […], "jobs": […], "tasks": […]}. Each entry is a
        /// message of print_catalog.proto in JSON.
        file: PathBuf,

        #[command(flatten)]
        service: ServiceAddress,

        /// Access token of an application that maintains the catalog.
        #[arg(long, env = "CATALOG_TOKEN", hide_env_values = true)]
        token: Option<SecretString>,

        /// File with the access token, read again for every call. Takes precedence over --token.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
}

impl Catalog {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Action::Apply { file, service, token, token_file } = self.action;
        let json = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let catalog = catalog::Catalog::from_json(&json).with_context(|| file.display().to_string())?;
        let credential = match token_file {
            Some(file) => Credential::token_file(&file)?,
            None => Credential::access_token(token.context("give --token or --token-file")?.expose_secret())?,
        };
        let mut client = Client::over(service.connect()?, credential);
        let pushed = catalog.push(&mut client).await?;
        println!("{pushed} entries pushed");
        Ok(())
    }
}
