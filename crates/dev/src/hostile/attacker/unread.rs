//! Answers that are not read.

use std::{io, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use print_upload_client::{Progress, Source, UploadOptions};
use tokio::{io::AsyncReadExt, sync::watch, time::sleep};

use super::{
    Attack,
    calls::{GET_SESSION, HEALTH_CHECK, REFLECTION, User},
    connection::{PAUSE, connect, play_and_read, swarm},
    frames::{self, DATA, END_STREAM},
};

const MIB: usize = 1024 * 1024;

/// The buffer of what is not read, in bytes: the system has a larger one by itself.
const RECEIVE_BYTES: u32 = 4096;

/// How many calls without a credential a connection may make at once.
const OPEN_CALLS: usize = 4;

/// How often a connection makes its calls again, which have been reset meanwhile.
const ROUND: Duration = Duration::from_secs(2);

/// The message of gRPC that asks reflection for the list of services.
const LIST_SERVICES: [u8; 2] = [0x3a, 0];

/// Downloads of a large document over REST. Of each answer only the status is read.
pub async fn downloads(attack: &Arc<Attack>) -> anyhow::Result<()> {
    let document = uploaded(attack).await?;
    attack.begin().await?;
    swarm(attack, attack.count(400, 10), Some(Duration::from_secs(1)), move |attack, number| {
        let document = document.clone();
        async move {
            let token = &attack.tokens[number % attack.tokens.len()];
            let head = format!(
                "GET /print/{document}/$value HTTP/1.1\r\nhost: hostile\r\nauthorization: Bearer {token}\r\n\r\n"
            );
            let mut connection = connect(&attack, attack.rest, 0, Some(RECEIVE_BYTES)).await?;
            connection.write.send(head.as_bytes()).await?;
            attack.counts.add_unit();
            let mut status = [0; 12];
            connection.read.read_exact(&mut status).await?;
            let status = String::from_utf8_lossy(&status).replace("/1.1", "");
            let is_ok = status.ends_with("200");
            attack.counts.add_answer(status);
            if is_ok {
                super::hold().await;
            }
            Ok("closed by the attacker after a refusal".into())
        }
    })
    .await
}

/// Calls whose answers have no room: health, reflection, and the attacker's own session.
pub async fn zero_window(attack: &Arc<Attack>) -> anyhow::Result<()> {
    const AUTHORIZED: usize = 20;
    let session = User::of(attack, 0)?.new_session(1000).await?.name;
    attack.begin().await?;
    let get = print_upload_client::proto::GetUploadSessionRequest { name: session };
    let get = crate::bench::grpc::frame(&get);
    swarm(attack, attack.count(50, 2), Some(PAUSE), move |attack, _| {
        let get = get.clone();
        async move {
            let mut connection = connect(&attack, attack.grpc, 0, None).await?;
            connection.write.send(&frames::greeting_without_window()).await?;
            let ending = play_and_read(&attack, connection, async |write| {
                let mut calls = 0;
                loop {
                    let mut round = Vec::new();
                    for number in 0..OPEN_CALLS + AUTHORIZED {
                        let (path, message, token) = match number {
                            0 | 1 => (HEALTH_CHECK, frames::message(&[]), None),
                            2 | 3 => (REFLECTION, frames::message(&LIST_SERVICES), None),
                            _ => (GET_SESSION, get.to_vec(), Some(&*attack.tokens[0])),
                        };
                        let stream = frames::stream(calls);
                        round.extend(frames::header_frames(stream, 0, &frames::call(path, token)));
                        round.extend(frames::frame(DATA, END_STREAM, stream, &message));
                        calls += 1;
                    }
                    if let Err(error) = write.send(&round).await {
                        return error;
                    }
                    attack.counts.add_units(OPEN_CALLS + AUTHORIZED);
                    sleep(ROUND).await;
                }
            });
            Ok(ending.await)
        }
    })
    .await
}

/// Reflection streams whose answers have no room, and which then get frames of one byte: always the newest few. New ones
/// follow, because the service resets the old ones.
pub async fn one_byte_frames(attack: &Arc<Attack>) -> anyhow::Result<()> {
    /// How many frames of one byte a batch has, and how many batches lie between two new streams.
    const BATCH: usize = 1000;
    const BATCHES: usize = 20;
    attack.begin().await?;
    swarm(attack, 8, Some(PAUSE), |attack, _| async move {
        let open = |stream| {
            let lists = frames::frame(DATA, 0, stream, &frames::message(&LIST_SERVICES)).repeat(6);
            [frames::header_frames(stream, 0, &frames::call(REFLECTION, None)), lists].concat()
        };
        let mut connection = connect(&attack, attack.grpc, 0, None).await?;
        let begin = (0..OPEN_CALLS).flat_map(|call| open(frames::stream(call)));
        let begin: Vec<u8> = frames::greeting_without_window().into_iter().chain(begin).collect();
        connection.write.send(&begin).await?;
        let (mut calls, mut batches) = (OPEN_CALLS, 0);
        let next = move || {
            let mut batch = Vec::new();
            batches += 1;
            if batches % BATCHES == 0 {
                batch.extend(open(frames::stream(calls)));
                calls += 1;
            }
            for call in calls - OPEN_CALLS..calls {
                batch.extend(frames::frame(DATA, 0, frames::stream(call), &[0]).repeat(BATCH / OPEN_CALLS));
            }
            batch
        };
        io::Result::Ok(play_and_read(&attack, connection, async move |write| write.flood(next, BATCH).await).await)
    })
    .await
}

/// Uploads a large document, and returns its name.
async fn uploaded(attack: &Attack) -> anyhow::Result<String> {
    let user = User::of(attack, 0)?;
    let bytes = Bytes::from(vec![5; attack.count(64, 4) * MIB]);
    let (document, session) = user.new_document_with_session(bytes.len()).await?;
    let progress = watch::Sender::<Progress>::default();
    let sent = user.client.upload(&session, &Source::bytes(bytes), &UploadOptions::default(), &progress).await;
    sent.context("the attacker's upload")?;
    Ok(document)
}
