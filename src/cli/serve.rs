//! `print-upload serve`: the service, with the REST gateway and the operators' listener if they are configured.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::{
    config::Config,
    process::{log_stopped, until_shutdown},
    server::{Listeners, Server},
    telemetry::Telemetry,
};

/// Serves until SIGINT or SIGTERM. Fails before it opens any port when the configuration is invalid, or when the
/// database or the store cannot be used.
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let server = Server::new(config).await?;
    server.check().await?;
    // Before anybody can see that the program is there, and stop it.
    let shutdown = until_shutdown();
    let grpc = TcpListener::bind(config.listen).await.with_context(|| format!("--listen {}", config.listen))?;
    let rest = match config.rest_listen {
        Some(address) => Some(listen_for_rest(address).await?),
        None => None,
    };
    let admin = listen_for_operators(&config.telemetry).await?;
    server.warn_of_fsync_off().await;
    tracing::info!(address = %grpc.local_addr()?, "serving");
    log_stopped(server.serve(Listeners { grpc, rest, admin }, shutdown).await?);
    Ok(())
}

/// Opens the REST gateway's listener.
pub(super) async fn listen_for_rest(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("--rest-listen {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "serving REST");
    Ok(listener)
}

/// Opens the operators' listener, if one is configured.
pub(super) async fn listen_for_operators(telemetry: &Telemetry) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = telemetry.admin_listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| format!("--admin-listen {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "serving operators");
    Ok(Some(listener))
}
