//! `print-upload serve`: the service alone.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use super::asked_to_stop;
use crate::{
    config::Config,
    listen::Drained,
    server::{Listeners, Server},
    telemetry::Telemetry,
};

/// Serves until the program is asked to stop. An invalid configuration, or a database or store that is not as it must be, fails
/// before any port is opened.
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let server = Server::new(config)?;
    server.check().await?;
    let grpc = TcpListener::bind(config.listen).await.with_context(|| format!("--listen {}", config.listen))?;
    let rest = match config.rest_listen {
        Some(address) => Some(listen_for_rest(address).await?),
        None => None,
    };
    let admin = listen_for_operators(&config.telemetry).await?;
    tracing::info!(address = %grpc.local_addr()?, "serving");
    report(server.serve(Listeners { grpc, rest, admin }, until_asked_to_stop()).await?);
    Ok(())
}

/// Opens the REST gateway's listener.
pub(super) async fn listen_for_rest(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("--rest-listen {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "serving REST");
    Ok(listener)
}

/// Opens the operators' listener, if there is to be one.
pub(super) async fn listen_for_operators(telemetry: &Telemetry) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = telemetry.admin_listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| format!("--admin-listen {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "serving operators");
    Ok(Some(listener))
}

/// Ends when the program is asked to end, or cannot be asked.
pub(super) async fn until_asked_to_stop() {
    if let Err(error) = asked_to_stop().await {
        tracing::error!(error = %error, "stopping: the program cannot be asked to");
    }
}

/// Says how the service has stopped.
pub(super) fn report(drained: Drained) {
    match drained {
        Drained::All => tracing::info!("stopped: every call was answered"),
        Drained::Cut => tracing::warn!("stopped: the drain timeout passed, and calls were cut"),
    }
}
