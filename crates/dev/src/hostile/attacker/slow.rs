//! What arrives one byte a second: a preface, headers, bodies.

use std::{io, sync::Arc};

use tokio::io::AsyncReadExt;

use super::{
    Attack,
    calls::{GET_SESSION, User},
    connection::{Connection, PAUSE, connect, play_and_read, swarm},
    frames,
};

/// How many calls of a connection over gRPC have slow bodies.
const CALLS: usize = 20;

pub async fn preface(attack: &Arc<Attack>) -> anyhow::Result<()> {
    attack.begin().await?;
    swarm(attack, attack.count(1000, 20), Some(PAUSE), |attack, _| async move {
        let connection = connect(&attack, attack.grpc, 0, None).await?;
        let play = play_and_read(&attack, connection, async |write| write.trickle(frames::PREFACE.to_vec()).await);
        Ok(play.await)
    })
    .await
}

/// Half of the connections over HTTP/1.1, the other half over HTTP/2.
pub async fn headers(attack: &Arc<Attack>) -> anyhow::Result<()> {
    attack.begin().await?;
    swarm(attack, attack.count(1000, 20), Some(PAUSE), |attack, number| async move {
        if number.is_multiple_of(2) {
            let head = format!("GET / HTTP/1.1\r\nhost: hostile\r\nx: {}", "y".repeat(10_000));
            let connection = connect(&attack, attack.rest, 0, None).await?;
            return Ok(trickle_http1(&attack, connection, "", head.into_bytes()).await);
        }
        let connection = connect(&attack, attack.grpc, 0, None).await?;
        let ending = play_and_read(&attack, connection, async |write| {
            let block = frames::call(GET_SESSION, None);
            let begin = frames::frame(frames::HEADERS, 0, 1, &block[..1]);
            let begin = [frames::greeting(), begin].concat();
            if let Err(error) = write.send(&begin).await {
                return error;
            }
            for byte in &block[1..] {
                let next = frames::frame(frames::CONTINUATION, 0, 1, &[*byte]);
                if let Err(error) = write.send(&next).await {
                    return error;
                }
                attack.counts.add_unit();
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            std::future::pending().await
        });
        Ok(ending.await)
    })
    .await
}

/// Bodies of authorized calls: JSON over REST, a first message over gRPC.
pub async fn body(attack: &Arc<Attack>) -> anyhow::Result<()> {
    let document = User::of(attack, 0)?.new_document().await?;
    attack.begin().await?;
    let rest = attack.count(500, 10);
    swarm(attack, rest + attack.count(50, 2), Some(PAUSE), move |attack, number| {
        let document = document.clone();
        async move {
            let token = attack.tokens[number % attack.tokens.len()].clone();
            if number < rest {
                let head = format!(
                    "POST /print/{document}/createUploadSession HTTP/1.1\r\nhost: hostile\r\nauthorization: Bearer {token}\r\n\
                     content-type: application/json\r\ncontent-length: 4096\r\n\r\n"
                );
                let connection = connect(&attack, attack.rest, 0, None).await?;
                return Ok(trickle_http1(&attack, connection, &head, vec![b' '; 4096]).await);
            }
            let connection = connect(&attack, attack.grpc, 0, None).await?;
            Ok(grpc_body(&attack, connection, &token).await)
        }
    })
    .await
}

/// Calls whose message arrives by single bytes.
async fn grpc_body(attack: &Attack, connection: Connection, token: &str) -> String {
    play_and_read(attack, connection, async |write| {
        let mut begin = frames::greeting();
        for call in 0..CALLS {
            begin.extend(frames::header_frames(frames::stream(call), 0, &frames::call(GET_SESSION, Some(token))));
        }
        if let Err(error) = write.send(&begin).await {
            return error;
        }
        for byte in frames::message(&[10; 60]) {
            for call in 0..CALLS {
                let next = frames::frame(frames::DATA, 0, frames::stream(call), &[byte]);
                if let Err(error) = write.send(&next).await {
                    return error;
                }
                attack.counts.add_unit();
            }
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        std::future::pending().await
    })
    .await
}

/// Sends a beginning at once and the rest slowly, and returns the status of the answer, or how the connection has ended.
async fn trickle_http1(attack: &Attack, mut connection: Connection, begin: &str, rest: Vec<u8>) -> String {
    let Connection { read, write } = &mut connection;
    let answer = async {
        let mut status = [0; 12];
        match read.read_exact(&mut status).await {
            Ok(_) => {
                attack.counts.add_answer(String::from_utf8_lossy(&status).replace("/1.1", ""));
                let _ = read.read_to_end(&mut Vec::new()).await;
                "closed with an answer".to_owned()
            }
            Err(error) => frames::closed(&error),
        }
    };
    let send = async {
        let begun: io::Result<()> = write.send(begin.as_bytes()).await;
        match begun {
            Ok(()) => write.trickle(rest).await,
            Err(error) => error,
        }
    };
    tokio::select! {
        ending = answer => ending,
        error = send => frames::closed(&error),
    }
}
