//! Proves the promises by trying what nobody thought of. Seeded clients call two replicas and a gateway while
//! connections break, processes are killed and stopped, Postgres crashes and the store fails. Every call and its answer
//! is recorded. A linearizability checker then looks for an order of single steps that explains all answers on a
//! document, by the rules in `model.rs`. Later, when no writer can be left, nothing may be left behind.

mod call;
mod client;
mod content;
mod faults;
mod grpc;
mod history;
mod leftovers;
mod model;
mod proxy;
mod races;
mod recorder;
mod rest;
mod round;
mod script;
mod session;
mod shrink;
mod system;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use sqlx::{Connection, PgConnection};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

use self::{
    history::{History, Verdict},
    recorder::Callers,
    round::Plan,
    system::{IDLE_TIMEOUT, RANGE_TIMEOUT, REPLICAS, System},
};

/// How long after a round all its sessions have ended and their bytes are dropped: they expire, no writer of them is
/// left a minute after its range has timed out, and the last pass follows.
const SETTLED: Duration = Duration::from_secs(IDLE_TIMEOUT.as_secs() + RANGE_TIMEOUT.as_secs() + 60 + 12);

/// How long the replicas may take to have neither a call nor a busy connection.
const IDLE: Duration = Duration::from_secs(20);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program that serves.
    pub program: PathBuf,
    pub histories: usize,
    /// How many of them run at once, under the same faults.
    pub parallel: usize,
    pub steps: usize,
    pub seed: u64,
    /// Only this history of the first round.
    pub only: Option<usize>,
    pub has_faults: bool,
    /// How often a round that has failed is run again, to find a smaller one that fails too.
    pub shrink_tries: usize,
}

pub use races::Report as RaceReport;

/// Runs this many races between a cancel and the writers of its session.
pub async fn race(program: &Path, races: usize, seed: u64) -> anyhow::Result<RaceReport> {
    let system = Arc::new(System::start(program).await?);
    round::push_tenant(&system).await?;
    let report = races::run(&system, races, seed).await?;
    if let Some(system) = Arc::into_inner(system) {
        system.stop().await?;
    }
    Ok(report)
}

/// What was run and found.
#[derive(Debug, Default)]
pub struct Report {
    pub histories: usize,
    pub calls: usize,
    /// Calls whose outcome nobody knows.
    pub unknown: usize,
    /// Histories whose search was given up.
    pub undecided: usize,
    /// What is wrong, a text each.
    pub violations: Vec<String>,
}

/// Runs the histories, and checks each. Stops after the first round with a violation.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let mut system = Arc::new(System::start(&options.program).await?);
    round::push_tenant(&system).await?;
    let callers = round::callers(&system)?;
    let mut report = Report::default();
    let mut settling = JoinSet::new();
    let rounds = if options.only.is_some() { 1 } else { options.histories.div_ceil(options.parallel) };
    for number in 0..rounds {
        let plan = Plan {
            seed: options.seed.wrapping_add(number as u64),
            histories: options.parallel.min(options.histories - number * options.parallel),
            only: options.only,
            steps: options.steps,
            has_faults: options.has_faults,
        };
        let histories = round::run(&system, &callers, &plan).await.with_context(|| format!("seed {}", plan.seed))?;
        report.count(&histories);
        let documents = histories.iter().map(|history| history.document).collect();
        settling.spawn(check_leftovers(Arc::clone(&system), plan.seed, documents, Instant::now() + SETTLED));
        let begun = Instant::now();
        let found = search(histories).await?;
        tracing::debug!(elapsed = ?begun.elapsed(), "the round is searched");
        report.undecided += found.undecided;
        report.violations.extend(found.unexplained);
        while let Some(settled) = settling.try_join_next() {
            report.violations.extend(settled??);
        }
        tracing::info!(seed = plan.seed, histories = report.histories, unknown = report.unknown, "a round is checked");
        if !report.violations.is_empty() {
            smaller(&system, &callers, &plan, options.shrink_tries, &mut report).await?;
            // What other rounds leave behind means nothing any more.
            settling.shutdown().await;
            break;
        }
    }
    while let Some(settled) = settling.join_next().await {
        report.violations.extend(settled??);
    }
    report.violations.extend(activity(&system).await?);
    if let Some(system) = Arc::get_mut(&mut system) {
        system.check_processes().await?;
    }
    if let Some(system) = Arc::into_inner(system) {
        system.stop().await?;
    }
    Ok(report)
}

impl Report {
    fn count(&mut self, histories: &[History]) {
        self.histories += histories.len();
        let calls = histories.iter().flat_map(|history| &history.calls);
        for call in calls {
            self.calls += 1;
            self.unknown += usize::from(call.outcome == call::Outcome::Unknown);
        }
    }
}

/// What a search found in the histories of a round.
#[derive(Default)]
struct Found {
    /// The histories without an explanation, each as short as it can be.
    unexplained: Vec<String>,
    /// How many searches were given up.
    undecided: usize,
}

async fn search(histories: Vec<History>) -> anyhow::Result<Found> {
    let check = move || {
        let mut found = Found::default();
        for history in &histories {
            match history.verdict() {
                Verdict::Explained => {}
                Verdict::Undecided => {
                    tracing::debug!("the search for an explanation was given up:\n{history}");
                    found.undecided += 1;
                }
                Verdict::Unexplained => {
                    let shortest = shrink::shrink(history);
                    found.unexplained.push(format!("nothing explains these answers:\n{shortest}"));
                }
            }
        }
        found
    };
    Ok(spawn_blocking(check).await?)
}

/// Runs smaller variants of a failed round again and again. Reports the smallest that has failed as well.
async fn smaller(
    system: &Arc<System>,
    callers: &Arc<Callers>,
    failed: &Plan,
    tries: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    if tries == 0 {
        return Ok(());
    }
    for plan in smaller_plans(failed) {
        for _ in 0..tries {
            let found = search(round::run(system, callers, &plan).await?).await?;
            if !found.unexplained.is_empty() {
                report.violations.push(format!("a smaller round fails as well: {plan:?}"));
                report.violations.extend(found.unexplained);
                return Ok(());
            }
        }
    }
    report.violations.push("no smaller round failed".into());
    Ok(())
}

/// Smaller plans, the smallest first.
fn smaller_plans(failed: &Plan) -> Vec<Plan> {
    let mut plans = Vec::new();
    for has_faults in [false, true] {
        for steps in [failed.steps / 2, failed.steps] {
            plans.push(Plan { steps, has_faults, ..failed.clone() });
        }
    }
    plans.retain(|plan| plan.has_faults == failed.has_faults || !plan.has_faults);
    plans
}

/// Checks the end of a round, once nothing of it can go on.
async fn check_leftovers(
    system: Arc<System>,
    seed: u64,
    documents: Vec<Uuid>,
    moment: Instant,
) -> anyhow::Result<Vec<String>> {
    sleep_until(moment).await;
    let deadline = Instant::now() + SETTLED;
    let problems = loop {
        // Later rounds go on: Postgres may be crashing at this moment.
        let checked = async {
            let mut connection = PgConnection::connect(&system.database_url().await?).await?;
            leftovers::check(&mut connection, &system.objects_folder(), &documents).await
        };
        match checked.await {
            // Faults of later rounds delay the last pass: it has more time.
            Ok(problems) if problems.is_empty() || Instant::now() > deadline => break problems,
            Err(error) if Instant::now() > deadline => return Err(error),
            _ => sleep(Duration::from_secs(1)).await,
        }
    };
    let problems = problems.into_values().flatten();
    Ok(problems.map(|problem| format!("seed {seed}: {problem}")).collect())
}

/// Waits until no replica has a writer or a busy connection; says which has after a while.
async fn activity(system: &System) -> anyhow::Result<Vec<String>> {
    let deadline = Instant::now() + IDLE;
    let mut problems = Vec::new();
    for replica in 0..REPLICAS {
        loop {
            let metrics = system.metrics(replica).await?;
            let busy = ["print_upload_writers ", "print_upload_database_connections{state=\"in_use\"} "];
            let busy: Vec<&str> = metrics
                .lines()
                .filter(|line| busy.iter().any(|name| line.strip_prefix(name).is_some_and(|value| value != "0")))
                .collect();
            if busy.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                problems.push(format!("replica {replica} is not idle: {busy:?}"));
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(problems)
}
