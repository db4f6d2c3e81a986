//! Rows 1 to 4: calls that read or end a session, against the same statement without anything around it.

use std::{ops::Range, sync::Arc};

use anyhow::ensure;
use bytes::Bytes;
use fastrand::Rng;
use sqlx::Executor;

use super::{
    Bench, Side,
    fill::{Documents, delete, delete_by_name, get, session_id},
    load,
    pgbench::{self, Pgbench},
    report::{Bar, Figure, Series, Unit},
};

const DELETE: &str = "DeleteUploadSession";
const GET: &str = "GetUploadSession";

/// Callers of the service, and clients of pgbench.
const CALLERS: usize = 64;
const CONNECTIONS: usize = 8;

/// Calls before the measurement: they open the connections to Postgres, and prepare the statements on each.
const WARM_UP: usize = 16 * CALLERS;

pub async fn deletes(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let calls = bench.count(20_480, 640);
    let pgbench = Pgbench { script: pgbench::CANCEL, clients: CALLERS, transactions: calls / CALLERS, first: 0 };
    let compared = compare(bench, pgbench, DELETE, WARM_UP).await?;
    let Compared { ours, limit, p50, p99, repeats, backlog } = compared;
    let ours = Series::new("calls", Unit::PerSecond, ours);
    let limit = Series::new("pgbench", Unit::PerSecond, limit);
    let figure = Figure::ratio("deletes ÷ pgbench", ours, limit).with_bar(Bar::AtLeast(2.0));
    let figure = figure.beside(Series::new("p50", Unit::Milliseconds, p50));
    let figure = figure.beside(Series::new("p99", Unit::Milliseconds, p99));
    let figure = figure.beside(Series::new("first passes not yet recorded", Unit::Count, backlog));
    Ok(vec![with_repeats(figure, repeats)])
}

pub async fn alone(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let transactions = bench.count(2000, 50);
    let pgbench = Pgbench { script: pgbench::CANCEL, clients: 1, transactions, first: 0 };
    let compared = compare(bench, pgbench, DELETE, bench.count(200, 20)).await?;
    let added = compared.p50.iter().zip(&compared.limit).map(|(ours, limit)| ours - limit).collect();
    let figure = Figure::new("delete alone, above pgbench", Unit::Milliseconds, added).with_bar(Bar::AtMost(0.5));
    let figure = figure.beside(Series::new("p50 of calls", Unit::Milliseconds, compared.p50));
    let figure = figure.beside(Series::new("p50 of pgbench", Unit::Milliseconds, compared.limit));
    Ok(vec![figure.beside(Series::new("p99 of calls", Unit::Milliseconds, compared.p99))])
}

pub async fn gets(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let calls = bench.count(20_480, 640);
    // pgbench takes so little time for one that it makes more of them.
    let transactions = bench.count(3200, 10);
    let pgbench = Pgbench { script: pgbench::SELECT, clients: CALLERS, transactions, first: 0 };
    let mut documents = bench.system.reset().await?;
    let sessions = documents.add_sessions(pgbench.sessions()).await?;
    documents.settle().await?;
    let mut compared = Compared::default();
    let mut rng = Rng::with_seed(1);
    for sides in bench.rounds() {
        for side in sides {
            match side {
                Side::Ours => {
                    let frames = (0..WARM_UP + calls).map(|_| get(rng.u64(sessions.clone()))).collect();
                    compared.ours(bench, GET, frames, CALLERS, WARM_UP).await?;
                }
                Side::Limit => compared.limit.push(pgbench.run(&bench.system).await?.rate),
            }
        }
    }
    let Compared { ours, limit, p50, p99, repeats, .. } = compared;
    let ours = Series::new("calls", Unit::PerSecond, ours);
    let limit = Series::new("pgbench", Unit::PerSecond, limit);
    let figure = Figure::ratio("gets ÷ pgbench", ours, limit).with_bar(Bar::AtLeast(0.3));
    let figure = figure.beside(Series::new("p50", Unit::Milliseconds, p50));
    Ok(vec![with_repeats(figure.beside(Series::new("p99", Unit::Milliseconds, p99)), repeats)])
}

pub async fn deletes_by_name(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let calls = bench.count(10_240, 640);
    let mut documents = bench.system.reset().await?;
    let mut sessions = documents.add_sessions(2 * bench.options.rounds * (WARM_UP + calls)).await?;
    documents.settle().await?;
    let (mut by_name, mut by_id) = (Compared::default(), Compared::default());
    for sides in bench.rounds() {
        for side in sides {
            let numbers = take(&mut sessions, WARM_UP + calls);
            prepare(&mut documents).await?;
            match side {
                Side::Ours => {
                    let names = documents.names(numbers).await?;
                    let frames = names.into_iter().map(|name| delete_by_name(format!("{name}/uploadSession")));
                    by_name.ours(bench, DELETE, frames.collect(), CALLERS, WARM_UP).await?;
                }
                Side::Limit => by_id.ours(bench, DELETE, numbers.map(delete).collect(), CALLERS, WARM_UP).await?,
            }
        }
    }
    let ours = Series::new("by name", Unit::PerSecond, by_name.ours);
    let limit = Series::new("by id", Unit::PerSecond, by_id.ours);
    let figure = Figure::ratio("delete by name ÷ by id", ours, limit).with_bar(Bar::AtLeast(0.6));
    Ok(vec![with_repeats(figure, by_name.repeats + by_id.repeats)])
}

/// The values of the rounds.
#[derive(Default)]
struct Compared {
    /// Calls a second.
    ours: Vec<f64>,
    /// pgbench's transactions a second, or with one client their p50.
    limit: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// How often a call was made again because the service was unavailable.
    repeats: usize,
    /// Sessions that had not had their first pass yet when the last call was answered.
    backlog: Vec<f64>,
}

/// Cancels sessions with calls and with pgbench, as many with each.
async fn compare(
    bench: &mut Bench,
    pgbench: Pgbench,
    method: &'static str,
    warm_up: usize,
) -> anyhow::Result<Compared> {
    let count = pgbench.sessions();
    let mut documents = bench.system.reset().await?;
    let mut sessions = documents.add_sessions(bench.options.rounds * (warm_up + 2 * count)).await?;
    documents.settle().await?;
    let mut compared = Compared::default();
    for sides in bench.rounds() {
        for side in sides {
            prepare(&mut documents).await?;
            match side {
                Side::Ours => {
                    let numbers = take(&mut sessions, warm_up + count);
                    let frames = numbers.clone().map(delete).collect();
                    compared.ours(bench, method, frames, pgbench.clients, warm_up).await?;
                    compared.backlog.push(backlog(&mut documents).await?);
                    check(&mut documents, numbers).await?;
                }
                Side::Limit => {
                    let numbers = take(&mut sessions, count);
                    let run = Pgbench { first: numbers.start, ..pgbench }.run(&bench.system).await?;
                    compared.limit.push(if pgbench.clients == 1 { run.latencies.at(50.0) } else { run.rate });
                    check(&mut documents, numbers).await?;
                }
            }
        }
    }
    Ok(compared)
}

impl Compared {
    /// Starts the service and calls it. It does not run while pgbench is measured: it would reclaim pgbench's sessions.
    async fn ours(
        &mut self,
        bench: &Bench,
        method: &'static str,
        frames: Arc<[Bytes]>,
        callers: usize,
        warm_up: usize,
    ) -> anyhow::Result<()> {
        let service = bench.system.serve().await?;
        let target = service.target(CONNECTIONS.min(callers), callers);
        let load = load::closed(&target, method, frames, warm_up).await?;
        service.stop().await?;
        self.repeats += load.repeats;
        self.ours.push(load.rate());
        self.p50.push(load.latencies.at(50.0));
        self.p99.push(load.latencies.at(99.0));
        Ok(())
    }
}

fn with_repeats(figure: Figure, repeats: usize) -> Figure {
    match repeats {
        0 => figure,
        _ => figure.with_note(format!("{repeats} calls were made again: the service was unavailable")),
    }
}

fn take(sessions: &mut Range<u64>, count: usize) -> Range<u64> {
    let taken = sessions.start..sessions.start + count as u64;
    sessions.start = taken.end;
    taken
}

/// Both sides begin after a checkpoint, and with nothing to reclaim.
async fn prepare(documents: &mut Documents) -> anyhow::Result<()> {
    let connection = documents.connection();
    connection.execute("truncate reclaim").await?;
    connection.execute("checkpoint").await?;
    Ok(())
}

async fn backlog(documents: &mut Documents) -> anyhow::Result<f64> {
    let rows: i64 =
        sqlx::query_scalar("select count(*) from reclaim where passes = 0").fetch_one(documents.connection()).await?;
    Ok(rows as f64)
}

/// Fails unless every one of the sessions is canceled.
async fn check(documents: &mut Documents, numbers: Range<u64>) -> anyhow::Result<()> {
    let rows = sqlx::query_scalar(
        "select count(*) from upload_session where session_id >= $1 and session_id < $2 and state = 'canceled'",
    );
    let rows = rows.bind(session_id(numbers.start)).bind(session_id(numbers.end));
    let canceled: i64 = rows.fetch_one(documents.connection()).await?;
    let expected = numbers.end - numbers.start;
    ensure!(u64::try_from(canceled)? == expected, "{canceled} of {expected} sessions are canceled");
    Ok(())
}
