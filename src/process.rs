//! What every program needs: a runtime, the signals that stop it, and a log that is flushed at the end.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    listen::Drained,
    telemetry::{self, Logs},
};

/// How long blocking work may delay the end of the program. A write to a full pipe blocks until the pipe is read.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a program to its end. The program returns its exit code or its error, and its log. The log is flushed last,
/// after the runtime has stopped.
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

/// Raises the number of descriptors that this process may open as far as it may, and returns it. Shells and service
/// managers often start programs with a low number, for the sake of programs that use `select`.
pub fn raise_descriptor_limit() -> usize {
    let Ok((current, most)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::MAX };
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, most, most).is_ok() { most } else { current };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Waits for SIGINT or SIGTERM. From this call on, not only while the future is awaited, a signal no longer ends the
/// program by itself.
pub fn shutdown_signal() -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let terminate = signal(SignalKind::terminate()).context("listening for SIGTERM");
    let interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT");
    async {
        let (mut terminate, mut interrupt) = (terminate?, interrupt?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }
}

/// Waits for SIGINT or SIGTERM, as [`shutdown_signal`] does. Completes at once if the program cannot listen for them.
pub fn until_shutdown() -> impl Future<Output = ()> + Send + use<> {
    let signal = shutdown_signal();
    async {
        if let Err(error) = signal.await {
            tracing::error!(error = %error, "stopping: the program cannot listen for signals");
        }
    }
}

/// Logs whether a server stopped after all calls or at the drain timeout.
pub fn log_stopped(drained: Drained) {
    match drained {
        Drained::All => tracing::info!("stopped: every call was answered"),
        Drained::Cut => tracing::warn!("stopped: the drain timeout passed, and calls were cut"),
    }
}
