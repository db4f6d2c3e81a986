//! `print-upload-dev issuer`: the token issuer as a separate process.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use print_upload::{
    listen::{self, Connections, Endpoint, Lifetimes, Protocol},
    process::{log_stopped, until_shutdown},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::default_data_dir;
use crate::{ThrowAwayCertificate, issuer::TokenIssuer};

/// How long calls in flight may take to end when the issuer stops.
const LIFETIMES: Lifetimes = Lifetimes::with(Duration::from_secs(30), Duration::from_secs(5));

/// How many connections the issuer may have.
const MAX_CONNECTIONS: usize = 256;

/// The options of the issuer. Everybody who can read its folder can mint any token with `print-upload-dev token`.
#[derive(Debug, Args)]
pub(super) struct Issuer {
    /// Address to serve discovery and keys on, over https. Port 0 chooses a free port.
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: SocketAddr,

    /// Host name by which the service reaches the issuer. It is part of every token, and the certificate is for it.
    #[arg(long, default_value = "localhost")]
    host: String,

    /// Folder for the issuer's keys. Its subfolder tls/HOST has the certificate, and ca.pem of the throw-away authority
    /// [default: as for `up`].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

impl Issuer {
    /// Serves until SIGINT or SIGTERM.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let data_dir = self.data_dir.map_or_else(default_data_dir, Ok)?;
        std::fs::create_dir_all(&data_dir).with_context(|| format!("--data-dir {}", data_dir.display()))?;
        let certificate = ThrowAwayCertificate::keep_or_make(&data_dir.join("tls"), &self.host)?;
        let listener = TcpListener::bind(self.listen).await.with_context(|| format!("--listen {}", self.listen))?;
        let base = format!("https://{}:{}", self.host, listener.local_addr()?.port());
        let issuer = TokenIssuer::with_keys(&data_dir, format!("{base}/{{tenantid}}/v2.0"))?;
        issuer.write_address(&data_dir)?;
        tracing::info!(address = issuer.address, "issuing");

        let endpoint = Endpoint { listener, protocol: Protocol::Http, router: issuer.router(&base)? };
        let stopping = CancellationToken::new();
        let certificate = certificate.files().load()?;
        let connections = Connections::up_to(MAX_CONNECTIONS, LIFETIMES);
        log_stopped(listen::serve(vec![endpoint], certificate, connections, stopping, until_shutdown()).await?);
        Ok(())
    }
}
