//! What a program needs around its work: a runtime, the signals that end it, and its last log lines.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    listen::Drained,
    telemetry::{self, Logs},
};

/// How long blocking work may delay the end of the program. A write to a pipe that nobody reads blocks for ever.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a program to its end. The program returns its exit code or its error, and the log to flush last, when nothing else
/// runs any more.
pub fn run(
    name: &'static str,
    program: impl Future<Output = anyhow::Result<(anyhow::Result<ExitCode>, Logs)>>,
) -> ExitCode {
    let result = Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        let finished = runtime.block_on(program);
        runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        let (result, logs) = finished?;
        logs.flush();
        result
    });
    result.unwrap_or_else(|error| {
        telemetry::write_in_time(move || drop(writeln!(io::stderr(), "{name}: {error:#}")));
        ExitCode::FAILURE
    })
}

/// Waits for SIGINT or SIGTERM.
pub async fn shutdown_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listening for SIGINT")?,
    }
    Ok(())
}

/// Waits for SIGINT or SIGTERM. Ends at once when the program cannot listen for them.
pub async fn until_shutdown() {
    if let Err(error) = shutdown_signal().await {
        tracing::error!(error = %error, "stopping: the program cannot listen for signals");
    }
}

/// Logs how a server stopped.
pub fn log_stopped(drained: Drained) {
    match drained {
        Drained::All => tracing::info!("stopped: every call was answered"),
        Drained::Cut => tracing::warn!("stopped: the drain timeout passed, and calls were cut"),
    }
}
