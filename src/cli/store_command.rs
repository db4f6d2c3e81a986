//! `print-upload store adopt`.

use std::{env, path::PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;

use crate::{blobs::Blobs, secret_files::DatabaseUrl, store};

/// The commands about the object store.
#[derive(Debug, Args)]
pub(super) struct StoreCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Let the database belong to this object store from now on, after all bytes were moved to it, while every `serve` is
    /// stopped. Documents whose bytes are not in it are lost.
    Adopt {
        #[command(flatten)]
        database: DatabaseUrl,

        /// Object store, as for `serve`.
        #[arg(long, env = "STORE", hide_env_values = true)]
        store: String,

        /// File with the settings of the object store, as for `serve`.
        #[arg(long, env = "STORE_SETTINGS")]
        store_settings: Option<PathBuf>,
    },
}

impl StoreCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Action::Adopt { database, store, store_settings } = self.action;
        let url = database.read()?;
        if let Some(folder) = Blobs::missing_folder(&store) {
            bail!("--store: the folder {} does not exist", folder.display());
        }
        let blobs = Blobs::open(&store, store_settings.as_deref(), &env::temp_dir()).context("--store")?;
        ensure!(blobs.is_lasting(), "--store: a store in memory ends with its process");
        blobs.check().await.context("--store")?;
        let own = match blobs.read_identity().await.context("--store")? {
            Some(identity) => identity,
            None => blobs.create_identity().await.context("--store")?,
        };
        match store::replace_object_store(url.expose_secret(), own).await.context("the database")? {
            Some(before) if before != own => {
                println!("the database belongs to the object store {own}, before: {before}");
            }
            _ => println!("the database belongs to the object store {own}"),
        }
        Ok(())
    }
}
