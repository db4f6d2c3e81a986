//! A program which ends when we do.
//!
//! `PR_SET_PDEATHSIG` follows the spawning thread and does not exist on macOS; a pipe ends with the
//! process on both. A small shell reads it and interrupts the program at its end.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdin};
use tokio::time::timeout;

use super::account::Account;

/// How long a server may take to stop.
pub(super) const STOP: Duration = Duration::from_secs(30);

const SUPERVISOR: &str = include_str!("supervise.sh");

/// A program of Postgres; it is interrupted when this is dropped.
pub(super) struct Supervised {
    shell: Child,
    /// Never written to: it only has to be open. Not inherited by what we spawn besides.
    pipe: ChildStdin,
}

impl Supervised {
    /// Starts a program, which holds `lock` while it runs.
    pub(super) fn spawn(
        account: &Account,
        program: &Path,
        arguments: &[String],
        lock: &File,
        log: &File,
    ) -> Result<Self> {
        let mut shell = account
            .command("/bin/sh")
            .args(["-c", SUPERVISOR, "print-upload-postgres"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(lock.try_clone()?)
            .stderr(log.try_clone()?)
            // Ctrl-C at the terminal is for us: the server is needed until we have drained.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let pipe = shell.stdin.take().context("the supervisor has no standard input")?;
        Ok(Self { shell, pipe })
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.shell.try_wait().context("asking for the supervisor of Postgres")
    }

    /// Waits for the program to end by itself.
    pub(super) async fn end(&mut self) -> Result<ExitStatus> {
        self.shell.wait().await.context("waiting for the supervisor of Postgres")
    }

    /// Interrupts the program and waits until it is gone; at the deadline it is ended by force.
    pub(super) async fn stop(self, limit: Duration) -> Result<()> {
        let Self { mut shell, pipe } = self;
        let group = shell.id();
        drop(pipe);
        if let Ok(status) = timeout(limit, shell.wait()).await {
            let status = status.context("waiting for Postgres to stop")?;
            tracing::debug!(code = status.code(), signal = status.signal(), "postgres has stopped");
            return Ok(());
        }
        // SIGQUIT: Postgres ends at once and recovers from its log at the next start.
        if let Some(group) = group.and_then(|id| i32::try_from(id).ok()) {
            killpg(Pid::from_raw(group), Signal::SIGQUIT).context("ending Postgres by force")?;
        }
        bail!("Postgres has not stopped within {} s and was told to quit without finishing", limit.as_secs());
    }
}
