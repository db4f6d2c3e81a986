//! `print-upload gateway`: the REST gateway as a separate process.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context;
use clap::Args;
use print_upload_client as client;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::serve::{listen_for_operators, listen_for_rest};
use crate::{
    admin::{AdminServer, GatewayProbe},
    gateway,
    http_options::HttpOptions,
    listen::{self, Endpoint, Protocol},
    process::{log_stopped, until_shutdown},
    telemetry::Telemetry,
    tls::TlsFiles,
};

/// The options of the gateway. It needs no secret and no database: it only translates.
#[derive(Debug, Args)]
pub(super) struct Gateway {
    /// Address to serve REST on. Port 0 chooses a free port.
    #[arg(long, env = "REST_LISTEN", default_value = "127.0.0.1:8080")]
    rest_listen: SocketAddr,

    /// Address of the gRPC service, http://host:port or https://host:port. Repeat it, or separate several with commas:
    /// calls are spread over the replicas that report that they serve (grpc.health.v1).
    #[arg(long = "upstream", env = "UPSTREAM", value_delimiter = ',', required = true)]
    upstreams: Vec<String>,

    /// Authority that signs the certificate of an https upstream, PEM [default: the system's authorities].
    #[arg(long, env = "UPSTREAM_CA")]
    upstream_ca: Option<PathBuf>,

    /// TLS on the REST listener.
    #[command(flatten)]
    tls: TlsFiles,

    /// Logs, traces and metrics.
    #[command(flatten)]
    pub(super) telemetry: Telemetry,

    /// Browsers, connections, and stopping.
    #[command(flatten)]
    http: HttpOptions,
}

impl Gateway {
    /// Serves until SIGINT or SIGTERM.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let ca =
            self.upstream_ca.map(|file| fs::read(&file).with_context(|| format!("--upstream-ca {}", file.display())));
        let upstream = client::connect(&self.upstreams, ca.transpose()?.as_deref()).context("--upstream")?;
        let certificate = self.tls.load()?;
        // Before anybody can see that the program is there, and stop it.
        let signal = until_shutdown();
        let operators = listen_for_operators(&self.telemetry).await?;
        let listener = listen_for_rest(self.rest_listen).await?;
        let (leaving, stopping) = (CancellationToken::new(), CancellationToken::new());
        // The service limits how long an answer may stall.
        let connections = self.http.connections_with(self.http.connections.connection_age);
        let probe = GatewayProbe::new(upstream.clone(), Arc::clone(&connections), leaving.clone());
        let admin = AdminServer::start(operators, probe);
        let router = gateway::router(gateway::Upstream::remote(upstream), stopping.clone(), &self.http.cors_origins);
        let endpoint = Endpoint { listener, protocol: Protocol::Http, router };
        let shutdown = async {
            signal.await;
            leaving.cancel();
            sleep(self.http.shutdown_delay).await;
        };
        log_stopped(listen::serve(vec![endpoint], certificate, connections, stopping, shutdown).await?);
        admin.stop().await
    }
}
