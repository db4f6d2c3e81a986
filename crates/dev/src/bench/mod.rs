//! Measures what a call costs against what Postgres and the disk allow: a durable Postgres, the program as a process of
//! its own, real tokens and real sockets, all on this machine. The limit is measured in the same run, alternating with
//! the service, so that a ratio does not depend on how fast the machine is today.

mod bare_loop;
mod calls;
mod cancels;
pub(crate) mod fill;
pub(crate) mod grpc;
mod http;
mod idle;
pub(crate) mod load;
mod markdown;
mod peers;
mod pgbench;
pub(crate) mod plot;
pub(crate) mod proc;
mod reclaiming;
mod report;
mod sizes;
mod stalled;
mod stalls;
mod starts;
mod statements;
pub(crate) mod system;
#[cfg(test)]
mod tests;
mod uploads;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::time::{sleep, timeout};

use self::{
    report::{Figure, Report, Row},
    system::System,
};

/// How long something may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long one row may take.
const ROW: Duration = Duration::from_secs(60 * 60);

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program that serves.
    pub program: PathBuf,
    pub rounds: usize,
    /// Only these rows, by their numbers; all if it is empty.
    pub only: Vec<u8>,
    /// Small counts, to see whether everything works. The values mean nothing.
    pub is_quick: bool,
    /// Also measures with this object store.
    pub s3: Option<String>,
    pub rustus: Option<PathBuf>,
    pub tusd: Option<PathBuf>,
    /// The folder for `benchmarks.md` and `images/`.
    pub output: PathBuf,
}

/// What every row needs.
struct Bench {
    system: System,
    options: Options,
}

/// The two sides that are compared in every round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Limit,
}

/// The rows: number, and what is measured.
const ROWS: [(u8, &str); 14] = [
    (1, "`DeleteUploadSession` by id, 64 callers on 8 connections ÷ pgbench with the cancel of 3cd0b5c, 64 clients"),
    (2, "`DeleteUploadSession`, one caller: p50 above that of the same bare statement"),
    (3, "`GetUploadSession`, 64 callers ÷ pgbench select by key, 64 clients"),
    (4, "`DeleteUploadSession` by the document's name ÷ by id"),
    (5, "256 MiB in ranges of 4 MiB over REST, one connection ÷ a bare loop of write, fsync, rename, fsync"),
    (6, "Four documents of 256 MiB at once ÷ four bare loops at once"),
    (7, "CPU seconds per GiB uploaded, service and Postgres"),
    (8, "Resident memory: 256 ranges of 8 MiB half sent and stalled; ten seconds after they have ended"),
    (9, "Cancel with four stalled writers: until each has its answer, p99"),
    (10, "Bytes gone after the answer to the cancel, p99"),
    (11, "With 1,000,000 active sessions ÷ with 10,000, p50"),
    (12, "Sessions reclaimed a second, without bytes, one replica; deletes meanwhile"),
    (13, "An idle replica"),
    (14, "`serve` from exec to ready, with the schema in place"),
];

/// Measures the rows, prints each, and writes the report. A row that fails does not stop the others.
pub async fn run(options: Options) -> anyhow::Result<Report> {
    let output = options.output.clone();
    let mut report = Report { setting: setting(&options).await?, rows: Vec::new() };
    let mut bench = Bench { system: System::start(&options.program).await?, options };
    report.setting.push(("Postgres".into(), postgres_version(&bench.system).await?));
    for (number, title) in ROWS {
        if !bench.options.only.is_empty() && !bench.options.only.contains(&number) {
            continue;
        }
        eprintln!("row {number}: {title}");
        let begun = Instant::now();
        let measured = timeout(ROW, bench.row(number)).await.unwrap_or_else(|_| bail_out());
        let outcome = measured.map_err(|error| format!("{error:#}"));
        let row = Row { number, title, outcome };
        print!("{}", markdown::plain(&row));
        eprintln!("  {} s", begun.elapsed().as_secs());
        report.rows.push(row);
        write(&report, &output)?;
    }
    let Bench { system, .. } = bench;
    system.stop().await?;
    Ok(report)
}

fn bail_out() -> anyhow::Result<Vec<Figure>> {
    bail!("it took longer than {} minutes", ROW.as_secs() / 60)
}

impl Bench {
    async fn row(&mut self, number: u8) -> anyhow::Result<Vec<Figure>> {
        match number {
            1 => calls::deletes(self).await,
            2 => calls::alone(self).await,
            3 => calls::gets(self).await,
            4 => calls::deletes_by_name(self).await,
            5 => uploads::one_connection(self).await,
            6 => uploads::four_at_once(self).await,
            7 => uploads::cpu(self).await,
            8 => stalls::memory(self).await,
            9 => cancels::stalled_writers(self).await,
            10 => cancels::bytes_gone(self).await,
            11 => sizes::run(self).await,
            12 => reclaiming::run(self).await,
            13 => idle::run(self).await,
            14 => starts::run(self).await,
            _ => bail!("there is no row {number}"),
        }
    }

    /// The small number in a quick run.
    fn count(&self, usual: usize, quick: usize) -> usize {
        if self.options.is_quick { quick } else { usual }
    }

    /// A quick run's part of a time.
    fn time(&self, usual: Duration) -> Duration {
        if self.options.is_quick { usual / 10 } else { usual }
    }

    /// The rounds, each with the two sides in the order in which they are measured.
    fn rounds(&self) -> impl Iterator<Item = [Side; 2]> + use<> {
        (0..self.options.rounds).map(|round| match round % 2 {
            0 => [Side::Ours, Side::Limit],
            _ => [Side::Limit, Side::Ours],
        })
    }
}

/// Writes the report and its plots.
fn write(report: &Report, output: &Path) -> anyhow::Result<()> {
    let images = output.join("images");
    fs::create_dir_all(&images).with_context(|| images.display().to_string())?;
    let page = output.join("benchmarks.md");
    let old = fs::read_to_string(&page).unwrap_or_default();
    let by_hand = old.split_once(&format!("{}\n", markdown::BY_HAND)).map_or("", |(_, by_hand)| by_hand);
    fs::write(&page, markdown::render(report, by_hand))?;
    fs::write(images.join("benchmarks-bars.svg"), plot::margins(report))?;
    fs::write(images.join("benchmarks-limits.svg"), plot::limits(report))?;
    Ok(())
}

async fn setting(options: &Options) -> anyhow::Result<Vec<(String, String)>> {
    let mut setting = machine(&options.program).await?;
    setting.push(("Rounds".into(), options.rounds.to_string()));
    if options.is_quick {
        setting.push(("Counts".into(), "tiny (`--quick`): the values mean nothing".into()));
    }
    Ok(setting)
}

/// What a measurement of a program runs on.
pub(crate) async fn machine(program: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let today = time::OffsetDateTime::now_utc().date();
    let setting = [
        ("Date", today.to_string()),
        ("Program", version_of(program).await?),
        ("Machine", proc::processor()),
        ("System", format!("{}, files on {}", proc::kernel(), proc::file_system(&std::env::temp_dir()))),
    ];
    Ok(setting.map(|(name, value)| (name.to_owned(), value)).into())
}

/// The version of the program that serves, and the commit.
pub(crate) async fn version_of(program: &Path) -> anyhow::Result<String> {
    let version = tokio::process::Command::new(program).arg("--version").output().await?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let commit = tokio::process::Command::new("git").args(["describe", "--always", "--dirty"]).output().await;
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    Ok(format!("{version}, commit {commit}"))
}

pub(crate) async fn postgres_version(system: &System) -> anyhow::Result<String> {
    let version: String = sqlx::query_scalar(
        "select format('%s; fsync %s, synchronous_commit %s, full_page_writes %s, shared_buffers %s',
                       current_setting('server_version'), current_setting('fsync'),
                       current_setting('synchronous_commit'), current_setting('full_page_writes'),
                       current_setting('shared_buffers'))",
    )
    .fetch_one(&mut system.connect().await?)
    .await?;
    Ok(version)
}

/// Waits until a condition holds. Looks often, and so is not for what is measured.
pub(crate) async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await? {
        anyhow::ensure!(Instant::now() < deadline, "waited too long for {what}");
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
