//! Writers are notified of an end on whatever replica it happens.
//!
//! Whoever ends a session notifies the writers of its own replica at once and leaves the session here. One task announces
//! the collected sessions to the other replicas. Every replica listens, and reads the state of its own writers' sessions
//! from the database: of those that were announced, of all of them after it has reconnected, and of all of them every five
//! seconds. A writer is notified only of what the database holds: nothing depends on an announcement, and a false one does
//! nothing.

use std::{collections::HashSet, mem, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{error::Error, name::SessionId, repeat::repeat, store::Store, writers::Writers};

/// How often the state of every session that is written to here is read.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long to listen to a silent connection before reconnecting: a dead connection can be silent as well.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// How long ends are collected before they are announced: an announcement delays neither the response to whoever ended a
/// session nor the writers here, and a replica announces no more often than this.
const COLLECT_TIME: Duration = Duration::from_millis(2);

/// How long to wait before reconnecting.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(200);

/// How long the last announcement may take when the service stops.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

/// What this replica announces to the others, and hears from them.
#[derive(Debug)]
pub struct Relay {
    store: Store,
    writers: Arc<Writers>,
    /// The sessions that have ended here and are not announced yet. Never locked across an await.
    unannounced: Mutex<HashSet<SessionId>>,
    has_unannounced: Notify,
}

impl Relay {
    /// Between the other replicas at this database and the writers of this one.
    pub fn new(store: Store, writers: Arc<Writers>) -> Self {
        Self { store, writers, unannounced: Mutex::default(), has_unannounced: Notify::new() }
    }

    /// Announces soon that a session has ended, together with the others that end meanwhile.
    pub fn announce(&self, session: SessionId) {
        self.unannounced.lock().insert(session);
        self.has_unannounced.notify_one();
    }

    /// Announces, listens and checks until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let announcing = repeat("announcing ended sessions", || self.send_announcements(), || self.collect());
        let listening = repeat("listening for ended sessions", || self.listen(), || sleep(RECONNECT_INTERVAL));
        let checking =
            repeat("asking for the writers' sessions", || self.check_sessions(|_| true), || sleep(CHECK_INTERVAL));
        shutdown.run_until_cancelled(async { tokio::join!(announcing, listening, checking) }).await;
        if timeout(LAST_TIMEOUT, self.send_announcements()).await.is_err() {
            tracing::debug!("other replicas were not told of the last ended sessions, and will ask");
        }
    }

    async fn collect(&self) {
        self.has_unannounced.notified().await;
        sleep(COLLECT_TIME).await;
    }

    /// What cannot be announced is dropped: every replica checks its sessions soon enough.
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
        // Whatever was announced in between was not heard.
        self.check_sessions(|_| true).await?;
        while let Ok(Ok(ended)) = timeout(MAX_SILENCE, announcements.next()).await {
            let ended: HashSet<SessionId> = ended.into_iter().collect();
            self.check_sessions(|session| ended.contains(session)).await?;
        }
        Ok(())
    }

    /// Reads the state of the selected sessions that are written to here, and notifies the writers of those that have ended.
    async fn check_sessions(&self, is_selected: impl Fn(&SessionId) -> bool) -> Result<(), Error> {
        let mut sessions = self.writers.sessions();
        sessions.retain(|(_, session)| is_selected(session));
        if sessions.is_empty() {
            return Ok(());
        }
        for (session, end) in self.store.ended_of(&sessions).await? {
            self.writers.notify(session, end);
        }
        Ok(())
    }
}
