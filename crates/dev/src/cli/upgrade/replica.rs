//! One of the two replicas: a process that is replaced at its addresses.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Child,
    time::{Instant, sleep, timeout},
};

use super::environment::{Environment, command};

/// How long a program may take to become ready.
const START: Duration = Duration::from_secs(60);

/// How long a program may take to stop: its drain timeout, and what it waits for after that.
const STOP: Duration = Duration::from_secs(60);

/// The error of a call that found no free connection.
const NO_CONNECTION: &str = "no connection to the database was free in time";

pub(super) struct Replica {
    name: &'static str,
    pub(super) grpc: SocketAddr,
    pub(super) rest: SocketAddr,
    admin: SocketAddr,
    folder: PathBuf,
    /// The programs that were started, each with its log.
    logs: Vec<(PathBuf, PathBuf)>,
    running: Option<Child>,
}

impl Replica {
    /// A replica at three addresses. Its logs go to the folder.
    pub(super) fn new(name: &'static str, addresses: &[SocketAddr], folder: &Path) -> Self {
        let (folder, logs) = (folder.to_owned(), Vec::new());
        Self { name, grpc: addresses[0], rest: addresses[1], admin: addresses[2], folder, logs, running: None }
    }

    /// Starts a program, and waits until it is ready.
    pub(super) async fn start(&mut self, program: &Path, environment: &Environment) -> anyhow::Result<()> {
        let log = self.folder.join(format!("replica-{}-{}.log", self.name, self.logs.len() + 1));
        self.logs.push((program.to_owned(), log.clone()));
        let log = File::create(log)?;
        let mut command = command(program);
        command.args(["--log-json", "serve"]).args(environment.options());
        command.arg(format!("--listen={}", self.grpc)).arg(format!("--rest-listen={}", self.rest));
        command.arg(format!("--admin-listen={}", self.admin)).arg(format!("--public-url=http://{}", self.rest));
        let mut child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        let deadline = Instant::now() + START;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let ready = format!("http://{}/readyz", self.admin);
        while !http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
            if let Some(status) = child.try_wait()? {
                bail!("replica {} ended while it started: {status}", self.name);
            }
            ensure!(Instant::now() < deadline, "replica {} is not ready", self.name);
            sleep(Duration::from_millis(20)).await;
        }
        self.running = Some(child);
        Ok(())
    }

    /// Sends SIGTERM, and waits for the end.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        let mut child = self.running.take().context("a replica that runs")?;
        let pid = child.id().with_context(|| format!("replica {} has ended by itself", self.name))?;
        kill(Pid::from_raw(pid.try_into()?), Signal::SIGTERM)?;
        let status = timeout(STOP, child.wait()).await.with_context(|| format!("replica {} stops", self.name))??;
        ensure!(status.success(), "replica {} ended: {status}", self.name);
        Ok(())
    }

    /// How many errors a program has logged, without calls that found no free connection: on a busy machine a replica
    /// that has just started may need seconds to open its connections. Fails if it has panicked.
    pub(super) fn logged_errors(&self, program: &Path) -> anyhow::Result<usize> {
        let mut errors = 0;
        for (_, log) in self.logs.iter().filter(|(started, _)| started == program) {
            let text = fs::read_to_string(log)?;
            ensure!(!text.contains("panicked"), "replica {} has panicked: {}", self.name, log.display());
            let lines = text.lines().filter(|line| line.contains(r#""level":"ERROR""#));
            errors += lines.filter(|line| !line.contains(NO_CONNECTION)).count();
        }
        Ok(errors)
    }
}
