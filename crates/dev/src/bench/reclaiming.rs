//! Row 12: how fast sessions without bytes are reclaimed, and what calls notice of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{Acquire, Executor};
use tokio::{sync::mpsc, time::sleep};

use super::{
    Bench,
    fill::{Documents, delete, session_id},
    load::{self, Load},
    report::{Bar, Figure, Series, Unit},
    system::{ServeOptions, Service},
};

const DELETE: &str = "DeleteUploadSession";

/// Deletes before the measurement.
const WARM_UP: usize = 512;

/// Deletes a second, while there is nothing to reclaim and while there is.
const RATE: f64 = 200.0;

/// How long deletes are measured while there is nothing to reclaim.
const IDLE: Duration = Duration::from_secs(10);

/// How long the sessions may take to be reclaimed.
const LONGEST: Duration = Duration::from_secs(300);

/// How often it is checked whether all of them have been. The check reads the whole queue.
const POLL: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Measured {
    rate: Vec<f64>,
    idle: Vec<f64>,
    meanwhile: Vec<f64>,
}

pub async fn run(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let mut figures = of_store(bench, "files", None).await?;
    let s3 = bench.options.s3.clone();
    match s3 {
        None => figures.push(Figure::missing("S3: sessions reclaimed", "not measured: no `--s3`")),
        // To look at: no bar is set for it.
        Some(url) => figures.extend(of_store(bench, "S3", Some(&url)).await?.into_iter().map(Figure::without_bar)),
    }
    Ok(figures)
}

async fn of_store(bench: &mut Bench, name: &str, store: Option<&str>) -> anyhow::Result<Vec<Figure>> {
    let mut measured = Measured::default();
    for _ in 0..bench.options.rounds {
        let mut documents = bench.system.reset().await?;
        round(bench, &mut documents, store, &mut measured).await?;
    }
    let rate = Figure::new(format!("{name}: sessions reclaimed"), Unit::PerSecond, measured.rate);
    let idle = Series::new("idle, p99", Unit::Milliseconds, measured.idle);
    let meanwhile = Series::new("meanwhile, p99", Unit::Milliseconds, measured.meanwhile);
    let deletes = Figure::ratio(format!("{name}: deletes meanwhile ÷ idle, p99"), meanwhile, idle);
    let note = format!("{} deletes a second, begun at fixed moments", deletes_a_second(bench));
    Ok(vec![rate.with_bar(Bar::AtLeast(10_000.0)), deletes.with_bar(Bar::AtMost(2.0)).with_note(note)])
}

async fn round(
    bench: &Bench,
    documents: &mut Documents,
    store: Option<&str>,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let count = bench.count(50_000, 500);
    let rate = deletes_a_second(bench);
    let idle = (bench.time(IDLE).as_secs_f64() * rate) as usize;
    let meanwhile = (bench.time(LONGEST).as_secs_f64() * rate) as usize;
    let ended = documents.add_sessions(count).await?;
    let deleted = documents.add_sessions(WARM_UP + idle + meanwhile).await?;
    documents.settle().await?;
    let service = bench.system.serve_with(ServeOptions { store, ..ServeOptions::default() }).await?;

    let frames: Vec<_> = deleted.map(delete).collect();
    let (warm_up, frames) = frames.split_at(WARM_UP);
    load::warm_up(&service.target(8, 64), DELETE, warm_up.into()).await?;
    let (_running, stop) = mpsc::channel(1);
    let before = deletes(&service, frames[..idle].into(), rate, stop).await?;
    measured.idle.push(before.latencies.at(99.0));

    // One transaction, so that all of them are to be reclaimed at the same moment.
    let mut transaction = documents.connection().begin().await?;
    let (first, end) = (session_id(ended.start), session_id(ended.end));
    let end_them = "update upload_session set state = 'canceled', end_time = now(), ended_by = owner,
                    end_reason = 'deleted' where session_id >= $1 and session_id < $2";
    sqlx::query(end_them).bind(first).bind(end).execute(&mut *transaction).await?;
    let queue = "insert into reclaim (tenant_id, session_id, final_time)
                 select tenant_id, session_id, now() + interval '11 minutes' from upload_session
                 where session_id >= $1 and session_id < $2";
    sqlx::query(queue).bind(first).bind(end).execute(&mut *transaction).await?;
    let (running, stop) = mpsc::channel(1);
    let watch = async {
        transaction.commit().await?;
        let begun = Instant::now();
        let wait = wait_until_passed(bench, first, end).await;
        drop(running);
        wait.map(|()| begun.elapsed())
    };
    let (elapsed, during) = tokio::join!(watch, deletes(&service, frames[idle..].into(), rate, stop));
    measured.rate.push(count as f64 / elapsed?.as_secs_f64());
    measured.meanwhile.push(during?.latencies.at(99.0));
    service.stop().await?;
    documents.connection().execute("truncate reclaim").await?;
    Ok(())
}

/// Deletes a second: few in a quick run, whose program may not be optimized.
fn deletes_a_second(bench: &Bench) -> f64 {
    if bench.options.is_quick { RATE / 20.0 } else { RATE }
}

async fn deletes(
    service: &Service,
    frames: Arc<[bytes::Bytes]>,
    rate: f64,
    stop: mpsc::Receiver<()>,
) -> anyhow::Result<Load> {
    load::open(&service.target(8, 8), DELETE, frames, rate, stop).await
}

/// Waits until the first passes over each of the sessions are recorded.
async fn wait_until_passed(bench: &Bench, first: uuid::Uuid, end: uuid::Uuid) -> anyhow::Result<()> {
    let deadline = Instant::now() + LONGEST;
    let mut connection = bench.system.connect().await?;
    loop {
        let left = sqlx::query_scalar(
            "select exists (select from reclaim where session_id >= $1 and session_id < $2 and passes = 0)",
        );
        let is_left: bool = left.bind(first).bind(end).fetch_one(&mut connection).await?;
        if !is_left {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "the sessions are not reclaimed after {} s", LONGEST.as_secs());
        sleep(POLL).await;
    }
}
