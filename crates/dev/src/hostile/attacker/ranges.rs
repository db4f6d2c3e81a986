//! Uploads of users that mean no document.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use print_upload_client::{
    code_name,
    proto::{CreateUploadSessionRequest, DeleteUploadSessionRequest, RangeHeader, UploadSession},
    range_messages,
};
use prost::Message;
use tokio::{task::JoinSet, time::sleep};
use tonic::Code;

use super::{
    Attack,
    calls::{User, is_exhausted, note, properties},
    ramp,
};
use crate::bench::grpc::{Connections, frame};

/// How many ranges of a session a writer may send at once.
const WRITERS: usize = 4;

/// How long a refused caller waits before it asks again.
const AGAIN: Duration = Duration::from_secs(1);

const CONNECTIONS: usize = 4;
const CALLERS: usize = 8;
const SIZE: usize = 1024 * 1024;

/// As many half-sent ranges as the service allows, by several users of one tenant.
pub async fn half_sent(attack: &Arc<Attack>) -> anyhow::Result<()> {
    let mut writers = Vec::new();
    for number in 0..attack.count(150, 4) {
        let session = User::of(attack, number)?.new_session(SIZE).await?.name;
        for writer in 0..WRITERS {
            writers.push((number % attack.tokens.len(), half_a_range(&session, writer)));
        }
    }
    let connections = Connections::open(attack.grpc, "", CONNECTIONS * 2).await?;
    attack.begin().await?;
    attack.counts.connections.fetch_add((CONNECTIONS * 2) as u64, Ordering::Relaxed);
    let mut stalled = JoinSet::new();
    for (number, (user, frames)) in writers.into_iter().enumerate() {
        let caller = connections.caller(number, "UploadRange")?.with_token(&attack.tokens[user])?;
        let attack = Arc::clone(attack);
        stalled.spawn(async move {
            ramp(number).await;
            loop {
                attack.counts.add_unit();
                attack.counts.add_bytes(frames.iter().map(Bytes::len).sum());
                let status = caller.stall(frames.clone()).await?.status().await?;
                attack.counts.add_answer(code_name(Code::from_i32(status)).to_owned());
                // What was answered otherwise has ended for good.
                if !is_exhausted(status) {
                    return anyhow::Ok(());
                }
                sleep(AGAIN).await;
            }
        });
    }
    while let Some(ended) = stalled.join_next().await {
        if let Err(error) = ended? {
            attack.counts.add_answer(format!("broken off: {error:#}"));
        }
    }
    super::hold().await;
    Ok(())
}

/// The frames of a range's header and of the first half of its bytes.
fn half_a_range(session: &str, writer: usize) -> Vec<Bytes> {
    let length = SIZE / WRITERS;
    let header = header(session, writer * length, length, SIZE);
    range_messages(header, &vec![7; length / 2].into()).iter().map(frame).collect()
}

fn header(session: &str, start: usize, length: usize, total: usize) -> RangeHeader {
    RangeHeader {
        name: session.into(),
        start: start as i64,
        end: (start + length) as i64,
        total: total as i64,
        ..Default::default()
    }
}

/// Single bytes of two documents, each as a range of its own that touches no other.
pub async fn one_byte_fragments(attack: &Arc<Attack>) -> anyhow::Result<()> {
    const TOTAL: usize = 1024 * SIZE;
    let user = User::of(attack, 0)?;
    let mut sessions = Vec::new();
    for _ in 0..CALLERS / WRITERS {
        sessions.push(user.new_session(TOTAL).await?.name);
    }
    let count = attack.count(10_000, 50);
    let fragment = |caller: usize, number: usize| {
        let messages =
            range_messages(header(&sessions[caller / WRITERS], 2 * number, 1, TOTAL), &Bytes::from_static(&[7]));
        Bytes::from(messages.iter().map(frame).collect::<Vec<_>>().concat())
    };
    let connections = Connections::open(attack.grpc, &attack.tokens[0], CONNECTIONS).await?;
    attack.begin().await?;
    attack.counts.connections.fetch_add(CONNECTIONS as u64, Ordering::Relaxed);
    callers(CALLERS, count, async |caller, number| {
        let fragment = fragment(caller, number);
        attack.counts.add_bytes(fragment.len());
        note(attack, &connections.caller(caller, "UploadRange")?.call(fragment).await);
        Ok(())
    })
    .await
}

/// One user creates sessions and cancels them, again and again, each loop with a document of its own.
pub async fn create_and_cancel(attack: &Arc<Attack>) -> anyhow::Result<()> {
    const LOOPS: usize = 32;
    let user = User::of(attack, 0)?;
    let mut documents = Vec::new();
    for _ in 0..LOOPS {
        documents.push(user.new_document().await?);
    }
    let connections = Connections::open(attack.grpc, &attack.tokens[0], CONNECTIONS).await?;
    attack.begin().await?;
    attack.counts.connections.fetch_add(CONNECTIONS as u64, Ordering::Relaxed);
    callers(LOOPS, attack.loops, async |caller, _| {
        let parent = documents[caller].clone();
        let create = frame(&CreateUploadSessionRequest { parent, properties: Some(properties(SIZE)) });
        attack.counts.add_bytes(2 * create.len());
        let created = connections.caller(caller, "CreateUploadSession")?.call(create).await;
        let Ok(created) = &created else {
            note(attack, &created);
            return Ok(());
        };
        let delete =
            DeleteUploadSessionRequest { name: UploadSession::decode(&created[..])?.name, ..Default::default() };
        note(attack, &connections.caller(caller, "DeleteUploadSession")?.call(frame(&delete)).await);
        Ok(())
    })
    .await
}

/// Makes the calls 0 to `count`, so many at a time as there are `callers`. `call` gets the number of the caller and that
/// of the call.
async fn callers(
    callers: usize,
    count: usize,
    call: impl AsyncFn(usize, usize) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let run = async |caller| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return anyhow::Ok(());
            }
            call(caller, number).await?;
        }
    };
    try_join_all((0..callers).map(run)).await.map(drop)
}
