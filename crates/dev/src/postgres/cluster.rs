//! A running cluster.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};

use super::durability::Durability;
use super::folder::Folder;
use super::start::Start;
use super::supervised::{STOP, Supervised};

/// A private Postgres. It stops when this is dropped and when our process ends, whatever ends it;
/// [`Cluster::stop`] also waits for that.
pub struct Cluster {
    url: String,
    // Above the lock: the server is told to stop before the next owner may come.
    server: Supervised,
    folder: Folder,
    _owned: File,
}

impl fmt::Debug for Cluster {
    /// Without the URL, which holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("folder", &self.folder.path()).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Starts the cluster in `dir`, which is its alone; initialises it when the folder is empty.
    ///
    /// # Errors
    /// When another process uses the folder, when there are no fitting server programs, when the
    /// account Postgres runs as cannot reach the folder, or when the server does not start: with
    /// the end of its log.
    pub async fn start(dir: &Path, durability: Durability) -> Result<Self> {
        let began = Instant::now();
        let (start, owned) = Start::prepare(dir, durability).await?;
        let (server, port) = start.on_any_port().await?;
        let Start { folder, password, .. } = start;
        tracing::debug!(port, milliseconds = began.elapsed().as_millis(), "postgres is ready");
        let url = format!("postgres://print_upload:{password}@127.0.0.1:{port}/print_upload");
        Ok(Self { url, server, folder, _owned: owned })
    }

    /// `postgres://print_upload:PASSWORD@127.0.0.1:PORT/print_upload`: a superuser and a database
    /// of its own.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server (connections are cut, nothing committed is lost) and waits until it is gone.
    ///
    /// # Errors
    /// When it had to be ended by force after 30 seconds.
    pub async fn stop(self) -> Result<()> {
        self.server.stop(STOP).await?;
        // The supervisor may have been killed before the server.
        match self.folder.no_server_within(STOP).await? {
            Some(_) => Ok(()),
            None => bail!("Postgres in {} is still running", self.folder.path().display()),
        }
    }
}
