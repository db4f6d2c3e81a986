//! A process of `print-upload`, which can be killed and stopped.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
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
    process::{Child, Command},
    time::{sleep, timeout},
};

/// How long the program may take until it serves.
const START: Duration = Duration::from_secs(60);

/// How often its log is read until then.
const POLL: Duration = Duration::from_millis(5);

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
        // The program writes to the file itself: a reader between them would cost time, and could fall behind.
        let log = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let old_bytes = log.metadata()?.len();
        let mut child = Command::new(&self.program)
            .arg("--log-json")
            .args(&self.arguments)
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let pid = child.id().and_then(|pid| pid.try_into().ok()).map(Pid::from_raw).context("it has no process id")?;
        let addresses = timeout(START, self.addresses(&mut child, old_bytes, messages)).await;
        let addresses = addresses.with_context(|| format!("{} does not start", self.name))??;
        Ok((Process { child, pid }, addresses))
    }

    /// Reads the log, without its old bytes, until each message has been logged.
    async fn addresses(&self, child: &mut Child, old_bytes: u64, messages: &[&str]) -> anyhow::Result<Vec<SocketAddr>> {
        loop {
            let has_ended = child.try_wait()?.is_some();
            let log = read_after(&self.log_file(), old_bytes)?;
            // The last line may be incomplete.
            let lines: Vec<&str> = log.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
            let address = |message: &&str| {
                let field = format!(r#""message":"{message}""#);
                lines.iter().find(|line| line.contains(&field)).map(|line| address_in(line))
            };
            if let Some(addresses) = messages.iter().map(address).collect::<Option<Vec<_>>>() {
                return addresses.into_iter().collect();
            }
            if has_ended {
                bail!("{} ended at its start: {}", self.name, lines.last().unwrap_or(&"").trim_end());
            }
            sleep(POLL).await;
        }
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

    pub fn id(&self) -> i32 {
        self.pid.as_raw()
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

fn read_after(file: &Path, offset: u64) -> io::Result<String> {
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn address_in(line: &str) -> anyhow::Result<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line)?;
    let address = line["fields"]["address"].as_str().context("the log line has no address")?;
    Ok(address.parse()?)
}
