//! Row 11: what the number of active sessions costs.

use std::{ops::Range, time::Duration};

use sqlx::Executor;
use tokio::time::sleep;

use super::{
    Bench, Side,
    fill::{Documents, delete, get, session_id},
    load,
    report::{Bar, Figure, Series, Unit, median},
    statements::{Executed, StatementLog},
    system::ServeOptions,
};

/// How long the background work is watched in each round.
const WATCHED: Duration = Duration::from_secs(8);

/// A database with active sessions.
struct Size {
    name: &'static str,
    documents: Documents,
    sessions: Range<u64>,
    /// The p50 of each round, in milliseconds: deletes, gets, expiry, purge.
    p50: [Vec<f64>; 4],
}

const MEASURED: [&str; 4] = ["delete", "get", "expiry", "purge"];

pub async fn run(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let mut many = Size::make(bench, "many", bench.count(1_000_000, 5_000)).await?;
    let mut few = Size::make(bench, "few", bench.count(10_000, 3_000)).await?;
    for sides in bench.rounds() {
        for side in sides {
            match side {
                Side::Ours => many.measure(bench).await?,
                Side::Limit => few.measure(bench).await?,
            }
        }
    }
    let mut figures = Vec::new();
    for (name, (many, few)) in MEASURED.into_iter().zip(many.p50.into_iter().zip(few.p50)) {
        let many = Series::new("with 1,000,000", Unit::Milliseconds, many);
        let few = Series::new("with 10,000", Unit::Milliseconds, few);
        figures.push(Figure::ratio(format!("{name}, 1,000,000 ÷ 10,000"), many, few).with_bar(Bar::AtMost(1.2)));
    }
    for name in ["many", "few"] {
        bench.system.drop_database(name).await?;
    }
    Ok(figures)
}

impl Size {
    async fn make(bench: &Bench, name: &'static str, count: usize) -> anyhow::Result<Self> {
        bench.system.drop_database(name).await?;
        bench.system.create_database(name).await?;
        let mut documents = Documents::of(bench.system.connect_to(name).await?).await?;
        let sessions = documents.add_sessions(count).await?;
        documents.settle().await?;
        Ok(Self { name, documents, sessions, p50: Default::default() })
    }

    async fn measure(&mut self, bench: &Bench) -> anyhow::Result<()> {
        let calls = bench.count(400, 20);
        let options = ServeOptions { database: self.name, ..ServeOptions::default() };
        let first = self.sessions.start;
        let service = bench.system.serve_with(options).await?;
        let target = service.target(1, 1);
        let gets = self.sessions.clone().rev().take(2 * calls).map(get).collect();
        let gets = load::closed(&target, "GetUploadSession", gets, calls).await?;
        let deletes = self.take(2 * calls).map(delete).collect();
        let deletes = load::closed(&target, "DeleteUploadSession", deletes, calls).await?;
        service.stop().await?;

        let executed = self.background_work(bench, options).await?;
        let of = |is_it: fn(&str) -> bool| {
            let times: Vec<f64> = executed
                .iter()
                .filter(|executed| is_it(&executed.text))
                .map(|executed| executed.milliseconds)
                .collect();
            median(&times)
        };
        let missing = |what| move || anyhow::anyhow!("no statement of the {what} was found in Postgres' log");
        let values = [
            deletes.latencies.at(50.0),
            gets.latencies.at(50.0),
            of(is_expiry).ok_or_else(missing("expiry"))?,
            of(is_purge).ok_or_else(missing("purge"))?,
        ];
        let used = self.sessions.start - first;
        self.sessions.end = self.documents.add_sessions(usize::try_from(used)?).await?.end;
        for (p50, value) in self.p50.iter_mut().zip(values) {
            p50.push(value);
        }
        Ok(())
    }

    /// The statements of the background work, with a few hundred sessions to expire and as many tombstones to purge.
    async fn background_work(&mut self, bench: &Bench, options: ServeOptions<'_>) -> anyhow::Result<Vec<Executed>> {
        let count = bench.count(320, 64);
        let overdue = "update upload_session set expire_time = now() - interval '1 minute'
                       where session_id >= $1 and session_id < $2";
        let old =
            "update upload_session set state = 'canceled', end_time = now() - interval '2 days', ended_by = owner,
                   end_reason = 'deleted' where session_id >= $1 and session_id < $2";
        self.documents.connection().execute("truncate reclaim").await?;
        for change in [overdue, old] {
            let sessions = self.take(count);
            let change = sqlx::query(change).bind(session_id(sessions.start)).bind(session_id(sessions.end));
            change.execute(self.documents.connection()).await?;
        }
        self.documents.connection().execute("checkpoint").await?;
        let mut log = StatementLog::begin(&bench.system, self.name).await?;
        let service = bench.system.serve_with(options).await?;
        sleep(if bench.options.is_quick { WATCHED / 2 } else { WATCHED }).await;
        service.stop().await?;
        let executed = log.read()?;
        log.end().await?;
        Ok(executed)
    }

    fn take(&mut self, count: usize) -> Range<u64> {
        let taken = self.sessions.start..self.sessions.start + count as u64;
        self.sessions.start = taken.end;
        taken
    }
}

/// A statement that finds or ends overdue sessions: nobody calls while it is watched.
fn is_expiry(text: &str) -> bool {
    text.contains("upload_session") && text.contains("'expired'") && text.contains("skip locked") && !is_purge(text)
}

fn is_purge(text: &str) -> bool {
    text.contains("delete from upload_session")
}
