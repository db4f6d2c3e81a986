//! A running cluster.

use std::{
    fmt,
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, bail};

use super::{
    durability::Durability,
    folder::Folder,
    start::Start,
    supervised::{STOP, Supervised},
};

/// A private Postgres. It stops when this is dropped, and when this process ends for any reason. [`Cluster::stop`] also
/// waits until it has stopped.
pub struct Cluster {
    url: String,
    // Above the lock, and so dropped first: the server is interrupted before the next owner can lock the folder.
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
    /// Starts the cluster in `dir`, which is used for nothing else. Initializes it when the folder is empty.
    ///
    /// Fails when another process uses the folder, when no server programs fit the data, when the account that Postgres
    /// runs under cannot reach the folder, or when the server does not start: then the error has the end of its log.
    pub async fn start(dir: &Path, durability: Durability) -> anyhow::Result<Self> {
        Self::start_as(dir, durability, None).await
    }

    /// Starts a standby in `dir`, which follows this cluster's log. It has the same password. Its name, for
    /// `synchronous_standby_names`, is `standby`.
    pub async fn start_standby(&self, dir: &Path, durability: Durability) -> anyhow::Result<Self> {
        Self::start_as(dir, durability, Some(self)).await
    }

    async fn start_as(dir: &Path, durability: Durability, primary: Option<&Self>) -> anyhow::Result<Self> {
        let began = Instant::now();
        let (start, owned) = Start::prepare(dir, durability, primary).await?;
        let (server, port) = start.on_any_port().await?;
        let Start { folder, password, .. } = start;
        tracing::debug!(port, milliseconds = began.elapsed().as_millis(), "postgres is ready");
        let url = format!("postgres://print_upload:{password}@127.0.0.1:{port}/print_upload");
        Ok(Self { url, server, folder, _owned: owned })
    }

    /// `postgres://print_upload:PASSWORD@127.0.0.1:PORT/print_upload`: a superuser, and an own database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file that has the superuser's password.
    pub(super) fn password_file(&self) -> PathBuf {
        self.folder.password()
    }

    /// Where the server listens.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        let url = url::Url::parse(&self.url)?;
        let port = url.port().context("the URL of the cluster has no port")?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Stops the server and waits until it has ended. Connections are cut, and nothing that was committed is lost.
    /// Fails when it had to be ended by force after 30 seconds.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { server, folder, .. } = self;
        server.stop(STOP).await?;
        wait_for_end(&folder).await
    }

    /// Ends the server at once, as a crash does: without a checkpoint. Nothing that was committed durably is lost.
    pub async fn crash(self) -> anyhow::Result<()> {
        let Self { server, folder, .. } = self;
        server.crash().await?;
        wait_for_end(&folder).await
    }
}

/// Waits until no server runs in the folder. Its supervisor may have ended before it.
async fn wait_for_end(folder: &Folder) -> anyhow::Result<()> {
    match folder.no_server_within(STOP).await? {
        Some(_) => Ok(()),
        None => bail!("Postgres in {} is still running", folder.path().display()),
    }
}
