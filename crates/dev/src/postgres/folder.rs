//! A cluster's folder: its files, its locks and the server's log.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};
use tokio::time::{Instant, sleep};

/// How long a previous owner may take to let go of the folder: one that was killed, or has just started a program which
/// holds its files until it runs.
const OWNER: Duration = Duration::from_secs(1);

/// How long the server of an owner which was killed may take for its fast shutdown.
const PREVIOUS: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// How much of the log an error shows.
const TAIL_BYTES: u64 = 8192;
const TAIL_LINES: usize = 15;

/// A cluster's folder, by its canonical path.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens the folder, creating it when it is missing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let describe = || format!("the folder of Postgres, {}", path.display());
        if !path.exists() {
            DirBuilder::new().recursive(true).create(path).with_context(describe)?;
            // As root the server runs as someone else, who has to pass through.
            let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
            fs::set_permissions(path, Permissions::from_mode(mode)).with_context(describe)?;
        }
        let path = fs::canonicalize(path).with_context(describe)?;
        if path.to_str().is_none() {
            bail!("{} is not UTF-8, which the folder of Postgres must be", path.display());
        }
        Ok(Self { path })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Postgres' data; there is one only once it is complete.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// The data while `initdb` is at work.
    pub(super) fn unfinished_data(&self) -> PathBuf {
        self.path.join("data.new")
    }

    /// Our copy of the password.
    pub(super) fn password(&self) -> PathBuf {
        self.path.join("password")
    }

    /// The password's copy for `initdb`.
    pub(super) fn initial_password(&self) -> PathBuf {
        self.path.join("password.initdb")
    }

    fn pid_file(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    /// The major version which made the data; `None` when there is no data yet.
    pub(super) fn major(&self) -> Result<Option<u32>> {
        let data = self.data();
        if !data.exists() {
            return Ok(None);
        }
        let version = fs::read_to_string(data.join("PG_VERSION"))
            .with_context(|| format!("{} is not a data folder of Postgres", data.display()))?;
        let major = version.trim().split('.').next().unwrap_or_default().parse();
        Ok(Some(major.with_context(|| format!("PG_VERSION in {}", data.display()))?))
    }

    /// Makes us the only owner for as long as the file is held. Waits a moment for a previous owner that is about to end.
    pub(super) async fn own(&self) -> Result<File> {
        match self.lock_within("lock", OWNER).await? {
            Some(file) => Ok(file),
            None => bail!("another process uses the Postgres in {}", self.path.display()),
        }
    }

    /// Waits for a previous owner's server to be gone; the server holds the file in its turn.
    pub(super) async fn server_lock(&self) -> Result<File> {
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

    /// The lock every server process holds, or `None` when it is still held at the deadline.
    pub(super) async fn no_server_within(&self, limit: Duration) -> Result<Option<File>> {
        self.lock_within("server.lock", limit).await
    }

    async fn lock_within(&self, name: &str, limit: Duration) -> Result<Option<File>> {
        let file = self.open_private(name)?;
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

    /// Removes a crashed server's pid file when its number has gone to some other process since,
    /// which Postgres would take for a server. Only while holding the server's lock.
    pub(super) fn remove_stale_pid_file(&self) -> Result<()> {
        let Some(pid) = self.pid_file_line(0) else {
            return Ok(());
        };
        if kill(Pid::from_raw(pid), None).is_err() {
            return Ok(());
        }
        tracing::warn!(pid, "removing the pid file of a Postgres which is gone");
        fs::remove_file(self.pid_file()).context("removing a stale postmaster.pid")
    }

    /// Whether the server has said that it is ready on that port.
    pub(super) fn says_ready(&self, port: u16) -> bool {
        let ready = |text: String| text.lines().nth(7).is_some_and(|line| line.trim() == "ready");
        self.pid_file_line(3) == Some(i32::from(port)) && fs::read_to_string(self.pid_file()).is_ok_and(ready)
    }

    fn pid_file_line(&self, number: usize) -> Option<i32> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        text.lines().nth(number)?.trim().parse().ok()
    }

    /// A new log: one which grew for ever would help nobody.
    pub(super) fn new_log(&self) -> Result<File> {
        let file = self.open_private("postgres.log")?;
        file.set_len(0).context("emptying postgres.log")?;
        Ok(file)
    }

    /// The last lines of the log after `start`, to end an error with.
    pub(super) fn log_tail(&self, start: u64) -> String {
        let path = self.path.join("postgres.log");
        let text = read_end(&path, start).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let lines = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("; the end of {}:\n{}", path.display(), lines.join("\n"))
    }

    fn open_private(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        options.open(&path).with_context(|| format!("opening {}", path.display()))
    }
}

fn read_end(path: &Path, start: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES).max(start);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Removes a file, which may be missing.
pub(super) fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
