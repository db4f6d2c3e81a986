//! The checks of the story. Each prints one line.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use print_upload::{
    blobs::{Blobs, Folder},
    name::{SessionId, TenantId},
};

use super::Session;
use crate::sample;

/// How long bytes may stay after a cancel, on a machine that may be busy. It takes milliseconds, which are printed.
const RECLAIM_DEADLINE: Duration = Duration::from_secs(10);

/// The checks over one transport.
pub(in crate::cli) struct Checks<'a> {
    transport: &'static str,
    /// Where the service keeps its bytes, if that is known.
    store: Option<&'a Blobs>,
    /// How many have held.
    pub held: usize,
}

impl<'a> Checks<'a> {
    pub(in crate::cli) fn new(transport: &'static str, store: Option<&'a Blobs>) -> Self {
        Self { transport, store, held: 0 }
    }

    /// Prints a check that holds. Fails with one that does not.
    pub(in crate::cli) fn check(&mut self, what: &str, holds: bool) -> anyhow::Result<()> {
        ensure!(holds, "{}: not so: {what}", self.transport);
        println!("ok  {}  {what}", self.transport);
        self.held += 1;
        Ok(())
    }

    /// Checks that the store, if it is known, is the one that holds the bytes that were sent.
    pub(super) async fn stored(&mut self, session: &Session) -> anyhow::Result<()> {
        let Some(store) = self.store else { return Ok(()) };
        let holds = !store.is_empty(folder_of(session)?).await?;
        self.check("the object store holds what was sent", holds)
    }

    /// Waits until the store, if it is known, holds nothing of a session any more.
    pub(in crate::cli) async fn reclaimed(&mut self, session: &Session, canceled_at: Instant) -> anyhow::Result<()> {
        let Some(store) = self.store else { return Ok(()) };
        while !store.is_empty(folder_of(session)?).await? {
            let is_late = canceled_at.elapsed() > RECLAIM_DEADLINE;
            ensure!(!is_late, "{}: the object store still holds bytes of a canceled upload", self.transport);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let milliseconds = canceled_at.elapsed().as_millis();
        self.check(&format!("the object store holds nothing of it, {milliseconds} ms after the delete"), true)
    }
}

fn folder_of(session: &Session) -> anyhow::Result<Folder> {
    let session = SessionId(session.id.parse().context("the session's id")?);
    Ok(Folder { tenant: TenantId(sample::TENANT), session })
}
