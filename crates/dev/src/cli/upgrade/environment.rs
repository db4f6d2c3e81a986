//! What both programs share: Postgres, a folder of bytes, an issuer, and the options of `serve`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::ensure;
use print_upload_client::Client;
use tokio::{net::TcpListener, process::Command};
use tokio_util::sync::CancellationToken;

use super::replica::Replica;
use crate::{
    ScratchFolder,
    cli::story::Caller,
    issuer::{AUDIENCE, TokenIssuer},
    postgres::{Cluster, Durability},
    sample::{self, Sample},
    stack::lookup,
};

/// The key that signs upload URLs: the replicas share it.
const UPLOAD_TOKEN_KEY: &str = "a key for tests that nobody must guess";

pub(super) struct Environment {
    folder: ScratchFolder,
    cluster: Cluster,
    issuer: TokenIssuer,
    stop_issuer: CancellationToken,
}

impl Environment {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let folder = ScratchFolder::new("upgrade")?;
        let cluster = Cluster::start(&folder.path().join("postgres"), Durability::Scratch).await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let issuer = TokenIssuer::open(folder.path(), listener.local_addr()?)?;
        let stop_issuer = CancellationToken::new();
        tokio::spawn(issuer.clone().serve(listener, stop_issuer.clone()));
        Ok(Self { folder, cluster, issuer, stop_issuer })
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop_issuer.cancel();
        self.cluster.stop().await
    }

    /// Keeps the folder after the end of this program. Returns its path.
    pub(super) fn keep(self) -> PathBuf {
        let path = self.folder.path().to_owned();
        std::mem::forget(self.folder);
        path
    }

    pub(super) fn database_url(&self) -> &str {
        self.cluster.url()
    }

    pub(super) fn bytes_folder(&self) -> PathBuf {
        self.folder.path().join("bytes")
    }

    /// A replica on ports of its own that has not started yet.
    pub(super) async fn replica(&self, name: &'static str) -> anyhow::Result<Replica> {
        // Open together, so that they differ.
        let mut listeners = Vec::new();
        for _ in 0..3 {
            listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        }
        let addresses: Result<Vec<SocketAddr>, _> = listeners.iter().map(TcpListener::local_addr).collect();
        Ok(Replica::new(name, &addresses?, self.folder.path()))
    }

    /// Runs a program's `migrate`.
    pub(super) async fn migrate(&self, program: &Path) -> anyhow::Result<()> {
        let output = command(program).args(["migrate", "--database-url", self.database_url()]).output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The options of `serve` that do not differ between replicas.
    pub(super) fn options(&self) -> Vec<String> {
        let store = format!("file://{}", self.bytes_folder().display());
        let options = [
            ("database-url", self.database_url()),
            ("store", &store),
            ("issuer", &self.issuer.address),
            ("audience", AUDIENCE),
            ("catalog-client", sample::CATALOG_CLIENT),
            ("upload-token-key", UPLOAD_TOKEN_KEY),
        ];
        options.map(|(option, value)| format!("--{option}={value}")).into()
    }

    /// Somebody in the sample, by the name of their token.
    pub(super) fn caller(&self, name: &'static str, token: &str) -> anyhow::Result<Caller> {
        let tokens = sample::tokens(&self.issuer)?;
        Ok(Caller { name, token: Some(lookup(&tokens, token)?.to_owned()) })
    }

    /// Pushes the sample catalog.
    pub(super) async fn push_catalog(&self, mut client: Client) -> anyhow::Result<()> {
        Sample::new().catalog.push(&mut client).await.map(drop)
    }
}

/// A command that the variables of this process do not configure.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}
