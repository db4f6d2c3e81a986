//! A cluster's folder: its files, its locks and the server's log.

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::kill,
    unistd::{Pid, geteuid},
};
use tokio::time::{Instant, sleep};

use crate::private_file;

/// How long a previous owner may hold the folder: it was killed a moment ago, or a program that it has spawned still
/// has its files open.
const OWNER: Duration = Duration::from_secs(1);

/// How long the server of a killed owner may take for its fast shutdown.
const PREVIOUS: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// How much of the log an error contains.
const TAIL_BYTES: u64 = 8192;
const TAIL_LINES: usize = 15;

/// A cluster's folder, by its canonical path.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens the folder. Creates it when it is missing.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let describe = || format!("the folder of Postgres, {}", path.display());
        if !path.exists() {
            DirBuilder::new().recursive(true).create(path).with_context(describe)?;
            // As root the server runs under another account, which must be able to enter.
            let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
            fs::set_permissions(path, Permissions::from_mode(mode)).with_context(describe)?;
        }
        let path = fs::canonicalize(path).with_context(describe)?;
        if path.to_str().is_none() {
            bail!("{} is not UTF-8: the folder of Postgres must be", path.display());
        }
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Postgres' data. It has this name only when it is complete.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// The data while `initdb` runs.
    pub(super) fn unfinished_data(&self) -> PathBuf {
        self.path.join("data.new")
    }

    /// The password.
    pub(super) fn password(&self) -> PathBuf {
        self.path.join("password")
    }

    /// The copy of the password for `initdb`.
    pub(super) fn initial_password(&self) -> PathBuf {
        self.path.join("password.initdb")
    }

    fn pid_file(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    /// The major version that has made the data. `None` when there is no data yet.
    pub(super) fn major(&self) -> anyhow::Result<Option<u32>> {
        let data = self.data();
        if !data.exists() {
            return Ok(None);
        }
        let version = fs::read_to_string(data.join("PG_VERSION"))
            .with_context(|| format!("{} is not a data folder of Postgres", data.display()))?;
        let major = version.trim().split('.').next().unwrap_or_default().parse();
        Ok(Some(major.with_context(|| format!("PG_VERSION in {}", data.display()))?))
    }

    /// Makes this process the only owner, as long as it holds the file. Waits a moment for a previous owner to end.
    pub(super) async fn own(&self) -> anyhow::Result<File> {
        match self.lock_within("lock", OWNER).await? {
            Some(file) => Ok(file),
            None => bail!("another process uses the Postgres in {}", self.path.display()),
        }
    }

    /// Waits until the server of a previous owner has ended. The next server then holds the file.
    pub(super) async fn server_lock(&self) -> anyhow::Result<File> {
        match self.no_server_within(PREVIOUS).await? {
            Some(file) => Ok(file),
            None => bail!(
                "the previous Postgres in {} has not ended within {} s{}",
                self.path.display(),
                PREVIOUS.as_secs(),
                self.log_tail(0),
            ),
        }
    }

    /// The lock that every server process holds. `None` when one still holds it after `limit`.
    pub(super) async fn no_server_within(&self, limit: Duration) -> anyhow::Result<Option<File>> {
        self.lock_within("server.lock", limit).await
    }

    async fn lock_within(&self, name: &str, limit: Duration) -> anyhow::Result<Option<File>> {
        let file = private_file::open(&self.path.join(name))?;
        let deadline = Instant::now() + limit;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(POLL).await,
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("locking {name}")),
            }
        }
    }

    /// Removes the pid file of a crashed server when another process has that pid now: Postgres would take it for a
    /// server. To be called only while the server's lock is held.
    pub(super) fn remove_stale_pid_file(&self) -> anyhow::Result<()> {
        let Some(pid) = self.pid_file_line(0) else { return Ok(()) };
        if kill(Pid::from_raw(pid), None).is_err() {
            return Ok(());
        }
        tracing::warn!(pid, "removing the pid file of a Postgres that does not run any more");
        fs::remove_file(self.pid_file()).context("removing a stale postmaster.pid")
    }

    /// Whether the pid file names this port and is marked ready.
    pub(super) fn is_ready(&self, port: u16) -> bool {
        let ready = |text: String| text.lines().nth(7).is_some_and(|line| line.trim() == "ready");
        self.pid_file_line(3) == Some(i32::from(port)) && fs::read_to_string(self.pid_file()).is_ok_and(ready)
    }

    fn pid_file_line(&self, number: usize) -> Option<i32> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        text.lines().nth(number)?.trim().parse().ok()
    }

    /// An empty log. Each start empties it, so that it does not grow without limit.
    pub(super) fn new_log(&self) -> anyhow::Result<File> {
        let file = private_file::open(&self.path.join("postgres.log"))?;
        file.set_len(0).context("emptying postgres.log")?;
        Ok(file)
    }

    /// The last lines of the log after `start`, to be appended to an error.
    pub(super) fn log_tail(&self, start: u64) -> String {
        let path = self.path.join("postgres.log");
        let text = read_end(&path, start).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let lines = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("; the end of {}:\n{}", path.display(), lines.join("\n"))
    }
}

fn read_end(path: &Path, start: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES).max(start);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Removes a file, if there is one.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
