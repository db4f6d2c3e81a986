//! A program that ends when this process does.
//!
//! `PR_SET_PDEATHSIG` follows the thread that has spawned the program, and macOS does not have it. A pipe is closed
//! when the process ends, on both systems: a small shell script waits for that and interrupts the program.

use std::{
    fs::File,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::{Child, ChildStdin},
    time::timeout,
};

use super::account::Account;

/// How long a server may take to stop.
pub(super) const STOP: Duration = Duration::from_secs(30);

const SUPERVISOR: &str = include_str!("supervise.sh");

/// A program of Postgres. It is interrupted when this is dropped.
pub(super) struct Supervised {
    shell: Child,
    /// Open while the program is to run, and never written to. Other child processes do not inherit it.
    pipe: ChildStdin,
}

impl Supervised {
    /// Starts a program. It holds `lock` while it runs.
    pub(super) fn spawn(
        account: &Account,
        program: &Path,
        arguments: &[String],
        lock: &File,
        log: &File,
    ) -> anyhow::Result<Self> {
        let mut shell = account
            .command("/bin/sh")
            .args(["-c", SUPERVISOR, "print-upload-postgres"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(lock.try_clone()?)
            .stderr(log.try_clone()?)
            // Ctrl-C at the terminal does not reach the server: this process needs it until all calls have ended.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let pipe = shell.stdin.take().context("the supervisor has no standard input")?;
        Ok(Self { shell, pipe })
    }

    /// How it ended, or `None` while it runs.
    pub(super) fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.shell.try_wait().context("asking for the supervisor of Postgres")
    }

    /// Waits until the program ends by itself.
    pub(super) async fn wait_for_end(&mut self) -> anyhow::Result<ExitStatus> {
        self.shell.wait().await.context("waiting for the supervisor of Postgres")
    }

    /// Interrupts the program and waits until it ends. After `limit` it is ended by force, and that is an error.
    pub(super) async fn stop(self, limit: Duration) -> anyhow::Result<()> {
        let Self { mut shell, pipe } = self;
        let group = shell.id();
        drop(pipe);
        if let Ok(status) = timeout(limit, shell.wait()).await {
            let status = status.context("waiting for Postgres to stop")?;
            tracing::debug!(code = status.code(), signal = status.signal(), "postgres has stopped");
            return Ok(());
        }
        end_by_force(group)?;
        bail!("Postgres has not stopped within {} s, and was ended by force", limit.as_secs());
    }

    /// Ends the program by force, and waits until its supervisor has ended.
    pub(super) async fn crash(mut self) -> anyhow::Result<()> {
        end_by_force(self.shell.id())?;
        self.shell.wait().await.context("waiting for the supervisor of Postgres")?;
        Ok(())
    }
}

/// Ends every process of the group at once. Postgres recovers from its log at the next start.
fn end_by_force(group: Option<u32>) -> anyhow::Result<()> {
    let Some(group) = group.and_then(|id| i32::try_from(id).ok()) else { return Ok(()) };
    killpg(Pid::from_raw(group), Signal::SIGQUIT).context("ending Postgres by force")
}
