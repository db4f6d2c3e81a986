//! The relay notifies a writer of its session's end, whichever replica ended the session. It does the same if the
//! upload URL was renewed that the writer came with.
//!
//! The code that ends a session, or renews its URL, notifies the writers on the same replica at once, and adds the
//! session to the relay's queue. One task announces the queued sessions to the other replicas. Every replica listens.
//! It reads the state of its own writers' sessions from the database: the announced ones at once, and all of them after
//! it has reconnected and every five seconds. A writer is notified only of what the database contains. So nothing
//! depends on an announcement, and a false one does nothing.

use std::{collections::HashSet, mem, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    name::SessionId,
    repeat::repeat,
    store::{SessionChange, Store},
    writers::Writers,
};

/// How often this replica reads the state of all its writers' sessions.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a connection may be silent before the relay reconnects: a dead connection is silent as well.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// How long ended sessions are collected before they are announced. It limits how often a replica announces. Neither
/// the response to the call that ended a session nor the writers on this replica wait for it.
const COLLECT_TIME: Duration = Duration::from_millis(2);

/// How long to wait before reconnecting.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(200);

/// How long the last announcement may take when the service stops.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

/// Announces ended sessions to other replicas, and listens for their announcements.
#[derive(Debug)]
pub struct Relay {
    store: Store,
    writers: Arc<Writers>,
    /// The sessions that this replica has ended, or whose URL it has renewed, and not announced yet. Never locked
    /// across an await.
    unannounced: Mutex<HashSet<SessionId>>,
    has_unannounced: Notify,
}

impl Relay {
    pub fn new(store: Store, writers: Arc<Writers>) -> Self {
        Self { store, writers, unannounced: Mutex::default(), has_unannounced: Notify::new() }
    }

    /// Queues the announcement that a session has ended, or that its URL was renewed. It is sent within milliseconds,
    /// together with those of other sessions.
    pub fn announce(&self, session: SessionId) {
        self.unannounced.lock().insert(session);
        self.has_unannounced.notify_one();
    }

    /// Announces, listens and checks until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let announcing = repeat("announcing ended sessions", || self.send_announcements(), || self.collect());
        let listening = repeat("listening for ended sessions", || self.listen(), || sleep(RECONNECT_INTERVAL));
        let checking =
            repeat("checking the writers' sessions", || self.check_sessions(|_| true), || sleep(CHECK_INTERVAL));
        shutdown.run_until_cancelled(async { tokio::join!(announcing, listening, checking) }).await;
        if timeout(LAST_TIMEOUT, self.send_announcements()).await.is_err() {
            tracing::debug!(
                "the last ended sessions were not announced; other replicas will read them from the database"
            );
        }
    }

    /// Waits until there is a session to announce, and then a moment for more.
    async fn collect(&self) {
        self.has_unannounced.notified().await;
        sleep(COLLECT_TIME).await;
    }

    /// Sessions that cannot be announced are not kept: every replica checks its sessions every few seconds anyway.
    async fn send_announcements(&self) -> Result<(), Error> {
        let ended = mem::take(&mut *self.unannounced.lock());
        if ended.is_empty() {
            return Ok(());
        }
        Ok(self.store.announce(&Vec::from_iter(ended)).await?)
    }

    /// Listens until the connection has been silent for too long, or is lost. A lost connection is logged only if
    /// reconnecting fails.
    async fn listen(&self) -> Result<(), Error> {
        let mut announcements = self.store.listen().await?;
        // Announcements that were made while disconnected are lost.
        self.check_sessions(|_| true).await?;
        while let Ok(Ok(ended)) = timeout(MAX_SILENCE, announcements.next()).await {
            let ended: HashSet<SessionId> = ended.into_iter().collect();
            self.check_sessions(|session| ended.contains(session)).await?;
        }
        Ok(())
    }

    /// Of the sessions that have writers on this replica, reads the state of the selected ones. Notifies the writers of
    /// those that have ended, and those whose upload URL was renewed.
    async fn check_sessions(&self, is_selected: impl Fn(&SessionId) -> bool) -> Result<(), Error> {
        let mut sessions = self.writers.sessions();
        sessions.retain(|(_, session)| is_selected(session));
        if sessions.is_empty() {
            return Ok(());
        }
        for SessionChange { session, end, url_generation } in self.store.changes_of(&sessions).await? {
            if let Some(end) = end {
                self.writers.notify(session, end);
            }
            self.writers.notify_of_renewal(session, url_generation);
        }
        Ok(())
    }
}
