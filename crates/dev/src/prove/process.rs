//! A process of `print-upload`, which can be killed and stopped.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

/// How long the program may take until it serves.
const START: Duration = Duration::from_secs(60);

/// How to start the program.
#[derive(Debug, Clone)]
pub struct Start {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// What it is called, in the name of its log and in errors.
    pub name: &'static str,
    /// Its log lines are appended to a file in this folder.
    pub log_folder: PathBuf,
}

/// A running process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
}

impl Start {
    /// Starts the program and waits for the log lines with these messages. Returns the address of each.
    pub async fn run(&self, messages: &[&str]) -> anyhow::Result<(Process, Vec<SocketAddr>)> {
        let mut child = Command::new(&self.program)
            .arg("--log-json")
            .args(&self.arguments)
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let pid = child.id().and_then(|pid| pid.try_into().ok()).map(Pid::from_raw).context("it has no process id")?;
        let log = child.stderr.take().context("it has no log")?;
        let addresses = timeout(START, self.addresses(log, messages)).await;
        let addresses = addresses.with_context(|| format!("{} does not start", self.name))??;
        Ok((Process { child, pid }, addresses))
    }

    /// Reads the log until each message has been logged, and writes all of it to the file.
    async fn addresses(&self, log: ChildStderr, messages: &[&str]) -> anyhow::Result<Vec<SocketAddr>> {
        let mut copy = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let mut found = vec![None; messages.len()];
        let mut lines = BufReader::new(log).lines();
        let mut last = String::new();
        while let Some(line) = lines.next_line().await? {
            write_line(&mut copy, &line)?;
            last.clone_from(&line);
            for (message, address) in messages.iter().zip(&mut found) {
                if line.contains(&format!(r#""message":"{message}""#)) {
                    *address = Some(address_in(&line)?);
                }
            }
            if let Some(addresses) = found.iter().copied().collect() {
                tokio::spawn(async move {
                    while let Ok(Some(line)) = lines.next_line().await {
                        let _ = write_line(&mut copy, &line);
                    }
                });
                return Ok(addresses);
            }
        }
        bail!("{} ended at its start: {last}", self.name)
    }

    pub fn log_file(&self) -> PathBuf {
        self.log_folder.join(format!("{}.log", self.name))
    }
}

impl Process {
    /// Kills it (SIGKILL).
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("killing a process")
    }

    /// Stops it (SIGSTOP) until [`Self::resume`].
    pub fn stop(&self) -> anyhow::Result<()> {
        kill(self.pid, Signal::SIGSTOP).context("stopping a process")
    }

    pub fn resume(&self) -> anyhow::Result<()> {
        kill(self.pid, Signal::SIGCONT).context("resuming a process")
    }

    /// Fails if it has ended by itself.
    pub fn check(&mut self, name: &str, log: &Path) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{name} has ended by itself ({status}): see {}", log.display()),
        }
    }
}

fn write_line(file: &mut File, line: &str) -> io::Result<()> {
    writeln!(file, "{line}")
}

fn address_in(line: &str) -> anyhow::Result<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line)?;
    let address = line["fields"]["address"].as_str().context("the log line has no address")?;
    Ok(address.parse()?)
}
