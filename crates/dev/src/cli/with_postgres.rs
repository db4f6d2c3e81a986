//! `print-upload-dev with-postgres -- COMMAND`: runs a command with a throw-away Postgres.

use std::{
    env,
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitCode, ExitStatus},
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    signal::unix::{Signal as Signals, SignalKind, signal},
};

use crate::{
    ScratchFolder,
    postgres::{Cluster, Durability},
};

/// Runs the command with `DATABASE_URL` set: as in the environment, else to a throw-away Postgres, which is removed
/// afterwards.
///
/// Returns the exit code of the command: 128 plus the number of the signal when a signal ended it.
pub(super) async fn run(command: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let Some((program, arguments)) = command.split_first() else { bail!("no command to run") };
    let mut command = Command::new(program);
    command.args(arguments);
    let mut interruptions = Interruptions::listen()?;
    if env::var_os("DATABASE_URL").is_some_and(|url| !url.is_empty()) {
        return interruptions.run_to_end(&mut command).await;
    }

    let folder = ScratchFolder::new("postgres")?;
    with_cluster(folder.path(), &mut command, &mut interruptions).await
}

async fn with_cluster(
    folder: &Path,
    command: &mut Command,
    interruptions: &mut Interruptions,
) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::start(folder, Durability::Scratch).await?;
    command.env("DATABASE_URL", cluster.url()).env("SQLX_OFFLINE", "true");
    let code = interruptions.run_to_end(command).await;
    let stopped = cluster.stop().await;
    let code = code?;
    stopped?;
    Ok(code)
}

/// The signals that would end this process before Postgres has stopped.
struct Interruptions {
    interrupt: Signals,
    terminate: Signals,
}

impl Interruptions {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
        }
    }

    /// A signal that arrived while Postgres was starting. The command has not received it.
    async fn pending(&mut self) -> Option<Signal> {
        tokio::select! {
            biased;
            signal = self.next() => Some(signal),
            () = std::future::ready(()) => None,
        }
    }

    /// Runs the command to its end. Signals do not end this process before that.
    async fn run_to_end(&mut self, command: &mut Command) -> anyhow::Result<ExitCode> {
        if let Some(signal) = self.pending().await {
            return Ok(ExitCode::from(128 + signal as u8));
        }
        let program = command.as_std().get_program().to_owned();
        let mut child = command.spawn().with_context(|| format!("running {}", program.display()))?;
        loop {
            tokio::select! {
                status = child.wait() => return Ok(exit_code(status?)),
                signal = self.next() => forward(signal, &child),
            }
        }
    }
}

/// Forwards SIGTERM, which only this process has received. The terminal sends SIGINT to the whole process group, and so
/// to the command as well.
fn forward(signal: Signal, child: &Child) {
    let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) else { return };
    if signal == Signal::SIGTERM && kill(Pid::from_raw(pid), signal).is_err() {
        tracing::debug!(pid, "the command has already ended");
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
