//! pgbench: how many statements Postgres does a second, one in a transaction, without anything around them.

use std::{fs, path::PathBuf};

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::{fill::with_names, load::Latencies, system::System};
use crate::postgres::Binaries;

/// The cancel of 3cd0b5c.
pub const CANCEL: &str = include_str!("cancel-3cd0b5c.sql");

/// A session's row by its key.
pub const SELECT: &str = "
\\set n FIRST_TIME + :first + random(0, :count - 1)
select owner, state, document_name, content_type, size_bytes, create_time, expire_time, expire_limit from upload_session
where tenant_id = 'TENANT'::uuid and session_id = (lpad(to_hex(:n::bigint), 12, '0') || 'REST_OF_ID')::uuid;
";

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Pgbench {
    pub script: &'static str,
    pub clients: usize,
    /// How many transactions each client makes.
    pub transactions: usize,
    /// The number of the first session.
    pub first: u64,
}

/// The result of a run.
#[derive(Debug)]
pub struct Measured {
    /// Transactions a second, without the time for connecting.
    pub rate: f64,
    pub latencies: Latencies,
}

impl Pgbench {
    /// How many sessions a run cancels.
    pub fn sessions(&self) -> usize {
        self.clients * self.transactions
    }

    /// Runs it on the usual database.
    pub async fn run(&self, system: &System) -> anyhow::Result<Measured> {
        let script = system.folder().join("pgbench.sql");
        fs::write(&script, with_names(self.script))?;
        let log = system.folder().join("pgbench-log");
        let url = url::Url::parse(&system.database_url("print_upload")?)?;
        let output = Command::new(program()?)
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", url.port().context("a port")?.to_string())
            .env("PGUSER", url.username())
            .env("PGPASSWORD", url.password().context("a password")?)
            .env("PGDATABASE", "print_upload")
            .args(["--no-vacuum", "--protocol=prepared", "--log", "--random-seed=1"])
            .arg(format!("--log-prefix={}", log.display()))
            .arg(format!("--client={}", self.clients))
            .arg(format!("--jobs={}", self.clients.min(2)))
            .arg(format!("--transactions={}", self.transactions))
            .arg(format!("--define=clients={}", self.clients))
            .arg(format!("--define=first={}", self.first))
            .arg(format!("--define=count={}", self.sessions()))
            .arg("--define=i=0")
            .arg("--file")
            .arg(&script)
            .kill_on_drop(true)
            .output()
            .await
            .context("running pgbench")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
        let rate = rate(&text).with_context(|| format!("no rate in {text}"))?;
        Ok(Measured { rate, latencies: latencies(system)? })
    }
}

/// pgbench of the Postgres that runs.
pub fn program() -> anyhow::Result<PathBuf> {
    let program = Binaries::find(None)?.program("pgbench");
    ensure!(program.exists(), "{} does not exist: install Postgres' contributed programs", program.display());
    Ok(program)
}

/// Reads `tps = 3920.1 (without initial connection time)`.
fn rate(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("tps = "))?;
    line.split(' ').nth(2)?.parse().ok()
}

/// Reads the logs of the run, a file for each thread, and removes them: the third field of a line is the transaction's
/// time in microseconds.
fn latencies(system: &System) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new()?;
    for entry in fs::read_dir(system.folder())? {
        let path = entry?.path();
        let is_log =
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("pgbench-log"));
        if !is_log {
            continue;
        }
        for line in fs::read_to_string(&path)?.lines() {
            let micros = line.split(' ').nth(2).and_then(|field| field.parse().ok());
            latencies.record(std::time::Duration::from_micros(micros.with_context(|| format!("a log line: {line}"))?));
        }
        fs::remove_file(&path)?;
    }
    Ok(latencies)
}
