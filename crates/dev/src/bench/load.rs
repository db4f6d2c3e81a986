//! Load: calls in a closed loop, where each caller waits for its answer, and in an open loop, where calls begin at a
//! fixed rate whatever happens to earlier ones.
//!
//! A load runs on one thread with a runtime of its own: that costs the least, and the requests of callers that are ready
//! at the same time share a write.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::{
    runtime,
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
};

use super::grpc::{Caller, Connections};

/// Where calls go to, and who makes them.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub token: String,
    pub connections: usize,
    pub callers: usize,
}

/// The result of a load.
#[derive(Debug)]
pub struct Load {
    pub calls: usize,
    /// How often a call was made again because the service was unavailable.
    pub repeats: usize,
    pub elapsed: Duration,
    pub latencies: Latencies,
}

/// Latencies, in nanoseconds.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1000, 100_000_000_000, 3)?))
    }

    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.0.add(&other.0).context("latencies of the same bounds")
    }

    /// In milliseconds, with `percent` from 0 to 100.
    pub fn at(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64 / 1e6
    }
}

impl Load {
    pub fn rate(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64()
    }
}

/// Makes each call once, in a closed loop. The first `warm_up` calls are not measured.
pub async fn closed(
    target: &Target,
    method: &'static str,
    frames: Arc<[Bytes]>,
    warm_up: usize,
) -> anyhow::Result<Load> {
    let target = target.clone();
    let load = move || async move {
        let callers = target.open(method).await?;
        // A few callers first: the service opens its connections to Postgres one after the other.
        let third = warm_up / 3;
        run_closed(&callers[..1], &frames, 0..third.min(16)).await?;
        run_closed(&callers[..callers.len().min(8)], &frames, third.min(16)..2 * third).await?;
        run_closed(&callers, &frames, 2 * third..warm_up).await?;
        run_closed(&callers, &frames, warm_up..frames.len()).await
    };
    on_own_thread(load).await
}

/// Makes each call once, so that the service opens its connections to Postgres and prepares its statements.
pub async fn warm_up(target: &Target, method: &'static str, frames: Vec<Bytes>) -> anyhow::Result<()> {
    let count = frames.len();
    closed(target, method, frames.into(), count).await.map(drop)
}

/// Begins the calls at a fixed rate, each once, until there are no more of them or `stop` is closed. A latency begins
/// when its call should have begun.
pub async fn open(
    target: &Target,
    method: &'static str,
    frames: Arc<[Bytes]>,
    rate: f64,
    stop: mpsc::Receiver<()>,
) -> anyhow::Result<Load> {
    let target = target.clone();
    on_own_thread(move || async move { run_open(target.open(method).await?, frames, rate, stop).await }).await
}

impl Target {
    pub async fn open(&self, method: &str) -> anyhow::Result<Vec<Caller>> {
        let connections = Connections::open(self.address, &self.token, self.connections).await?;
        (0..self.callers).map(|number| connections.caller(number, method)).collect()
    }
}

/// Runs a load on a thread with a runtime of its own.
pub async fn on_own_thread<T: Send + 'static, F: Future<Output = anyhow::Result<T>>>(
    load: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<T> {
    spawn_blocking(|| runtime::Builder::new_current_thread().enable_all().build()?.block_on(load())).await?
}

async fn run_closed(callers: &[Caller], frames: &Arc<[Bytes]>, calls: std::ops::Range<usize>) -> anyhow::Result<Load> {
    let next = Arc::new(AtomicUsize::new(calls.start));
    let mut running = JoinSet::new();
    let begun = Instant::now();
    for caller in callers {
        let (caller, next, frames, end) = (caller.clone(), Arc::clone(&next), Arc::clone(frames), calls.end);
        running.spawn(async move {
            let (mut latencies, mut repeats) = (Latencies::new()?, 0);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return anyhow::Ok((latencies, repeats));
                }
                let begun = Instant::now();
                repeats += caller.call_patiently(frames[number].clone()).await?;
                latencies.record(begun.elapsed());
            }
        });
    }
    let (mut latencies, mut repeats) = (Latencies::new()?, 0);
    while let Some(ended) = running.join_next().await {
        let (of_caller, repeats_of_caller) = ended??;
        latencies.add(&of_caller)?;
        repeats += repeats_of_caller;
    }
    Ok(Load { calls: calls.len(), repeats, elapsed: begun.elapsed(), latencies })
}

/// The same, in the runtime of the caller, over connections that are open already.
pub async fn run_open(
    callers: Vec<Caller>,
    frames: Arc<[Bytes]>,
    rate: f64,
    stop: mpsc::Receiver<()>,
) -> anyhow::Result<Load> {
    let begun = Instant::now();
    let mut moments = paced(rate, frames.len(), stop);
    let mut running = JoinSet::new();
    let mut calls = 0;
    let mut latencies = Latencies::new()?;
    while let Some(moment) = moments.recv().await {
        let (caller, frame) = (callers[calls % callers.len()].clone(), frames[calls].clone());
        calls += 1;
        running.spawn(async move {
            let repeats = caller.call_patiently(frame).await?;
            anyhow::Ok((moment.elapsed(), repeats))
        });
    }
    // The tasks that have ended meanwhile are few enough to be kept.
    let mut repeats = 0;
    while let Some(ended) = running.join_next().await {
        let (latency, repeats_of_call) = ended??;
        latencies.record(latency);
        repeats += repeats_of_call;
    }
    Ok(Load { calls, repeats, elapsed: begun.elapsed(), latencies })
}

/// Sends the moments at which calls are to begin. A thread of its own keeps time: the runtime's timers are a millisecond
/// apart.
pub fn paced(rate: f64, count: usize, mut stop: mpsc::Receiver<()>) -> mpsc::UnboundedReceiver<Instant> {
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let begun = Instant::now();
        for number in 0..count {
            let moment = begun + Duration::from_secs_f64(number as f64 / rate);
            thread::sleep(moment.saturating_duration_since(Instant::now()));
            let is_stopped = matches!(stop.try_recv(), Ok(()) | Err(mpsc::error::TryRecvError::Disconnected));
            if is_stopped || sender.send(moment).is_err() {
                return;
            }
        }
    });
    receiver
}
