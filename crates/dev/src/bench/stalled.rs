//! Cancels at a fixed rate, of sessions whose writers stall.

use std::{ops::Range, sync::Arc, time::Instant};

use anyhow::ensure;
use bytes::Bytes;
use print_upload_client::{proto::RangeHeader, range_messages};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    fill::{delete, session_id},
    grpc::{Caller, Connections, Stalled, frame},
    load::{self, Latencies, Target},
    system::{Service, WRITERS as WRITERS_METRIC, wait_for_metric},
};

/// How many writers a session has at most.
pub const WRITERS: usize = 4;

/// How many sessions have their writers at a time. Their ranges are fewer than a replica receives at once.
const BATCH: usize = 32;

/// Cancels a second.
const RATE: f64 = 50.0;

/// The size of a session, a quarter of it for each writer.
const SIZE: usize = 1024 * 1024;

const CONNECTIONS: usize = 8;

/// gRPC's code of a call that another one has aborted.
const ABORTED: i32 = 10;

/// What to measure.
pub struct Stalls<'a> {
    /// The replica that receives the ranges.
    pub writing: &'a Service,
    /// The replica that is called to cancel.
    pub canceling: &'a Service,
    /// How many writers each session has.
    pub writers: usize,
    pub sessions: Range<u64>,
}

/// Latencies since the moment at which a cancel should have begun.
pub struct Measured {
    /// Until the cancel is answered.
    pub cancels: Latencies,
    /// Until a writer is answered.
    pub writers: Latencies,
}

impl Stalls<'_> {
    pub async fn run(self) -> anyhow::Result<Measured> {
        let Self { writing, canceling, writers, sessions } = self;
        let (admin, writing, canceling) =
            (writing.admin, writing.target(CONNECTIONS, WRITERS), canceling.target(CONNECTIONS, CONNECTIONS));
        load::on_own_thread(move || async move {
            let mut measured = Measured { cancels: Latencies::new()?, writers: Latencies::new()? };
            let writing = callers(&writing, "UploadRange").await?;
            let canceling = callers(&canceling, "DeleteUploadSession").await?;
            let mut first = sessions.start;
            while first < sessions.end {
                let batch = first..sessions.end.min(first + BATCH as u64);
                first = batch.end;
                let mut stalled = Vec::new();
                for session in batch.clone() {
                    let mut answers = Vec::new();
                    for writer in 0..writers {
                        let caller = &writing[(stalled.len() + writer) % writing.len()];
                        answers.push(caller.stall(half_a_range(session, writer)).await?);
                    }
                    stalled.push((session, answers));
                }
                wait_for_metric(admin, WRITERS_METRIC, (stalled.len() * writers) as f64).await?;
                cancel(&canceling, stalled, &mut measured).await?;
            }
            Ok(measured)
        })
        .await
    }
}

async fn callers(target: &Target, method: &str) -> anyhow::Result<Vec<Caller>> {
    let connections = Connections::open(target.address, &target.token, target.connections).await?;
    (0..target.connections).map(|number| connections.caller(number, method)).collect()
}

/// The frames of a range's header and of the first half of its bytes.
fn half_a_range(session: u64, writer: usize) -> Vec<Bytes> {
    let length = SIZE / WRITERS;
    let (start, end) = (writer * length, (writer + 1) * length);
    let header = RangeHeader {
        name: format!("uploadSessions/{}", session_id(session)),
        start: start as i64,
        end: end as i64,
        total: SIZE as i64,
        ..Default::default()
    };
    range_messages(header, &vec![7; length / 2].into()).iter().map(frame).collect()
}

/// Cancels the sessions at the fixed rate, and waits for all answers.
async fn cancel(callers: &[Caller], sessions: Vec<(u64, Vec<Stalled>)>, measured: &mut Measured) -> anyhow::Result<()> {
    // Kept open: nothing stops the cancels.
    let (_running, stop) = mpsc::channel(1);
    let mut moments = load::paced(RATE, sessions.len(), stop);
    let mut cancels = JoinSet::new();
    let mut writers = JoinSet::new();
    for (number, (session, stalled)) in sessions.into_iter().enumerate() {
        let begun = Arc::new(std::sync::OnceLock::new());
        // The writers are listened to before the cancel begins.
        for writer in stalled {
            let begun = Arc::clone(&begun);
            writers.spawn(async move {
                let status = writer.status().await?;
                let answered = Instant::now();
                ensure!(status == ABORTED, "a stalled writer was answered with gRPC status {status}");
                let begun = *begun.get().ok_or_else(|| anyhow::anyhow!("a writer was answered before the cancel"))?;
                Ok(answered.duration_since(begun))
            });
        }
        let caller = callers[number % callers.len()].clone();
        let Some(moment) = moments.recv().await else { break };
        let _ = begun.set(moment);
        cancels.spawn(async move {
            caller.call_patiently(delete(session)).await?;
            anyhow::Ok(moment.elapsed())
        });
    }
    while let Some(ended) = cancels.join_next().await {
        measured.cancels.record(ended??);
    }
    while let Some(ended) = writers.join_next().await {
        measured.writers.record(ended??);
    }
    Ok(())
}
