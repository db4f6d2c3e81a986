//! `print-upload serve`: the service alone.

use anyhow::Context;
use tokio::net::TcpListener;

use super::asked_to_stop;
use crate::{
    config::Config,
    server::{Drained, Server},
};

/// Serves until the program is asked to stop. An invalid configuration, or a database that is not as it must be, fails
/// before any port is opened.
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let server = Server::new(config)?;
    server.check_schema().await?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| format!("--listen {}", config.listen))?;
    tracing::info!(address = %listener.local_addr()?, "serving");
    let drained = server
        .serve(listener, async {
            if let Err(error) = asked_to_stop().await {
                tracing::error!(error = %error, "stopping: the program cannot be asked to");
            }
        })
        .await?;
    report(drained);
    Ok(())
}

/// Says how the service has stopped.
pub(super) fn report(drained: Drained) {
    match drained {
        Drained::All => tracing::info!("stopped: every call was answered"),
        Drained::Cut => tracing::warn!("stopped: the drain timeout passed, and calls were cut"),
    }
}
