//! Writers hear of an end on whatever replica it happens.
//!
//! Whoever ends a session tells its own writers at once and leaves the session here; one task announces what has gathered.
//! Every replica listens, and asks the database for the state of its own writers' sessions: of those that were announced, of
//! all of them when its connection was made anew, and of all of them every five seconds. A writer is told only what the
//! database says, so that nothing depends on an announcement, and a false one does nothing.

use std::{collections::HashSet, mem, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{error::Error, name::SessionId, repeat::repeat, store::Store, writers::Writers};

/// How often the sessions that are written to here are asked for their state.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a silent connection is listened to before it is made anew: one can be dead without a word.
const SILENCE: Duration = Duration::from_secs(60);

/// How long ends gather before they are announced: so the announcement takes no time from the answer to whoever has ended a
/// session, nor from its writers here, and a replica announces no more often.
const GATHER: Duration = Duration::from_millis(2);

/// How long to wait before listening anew.
const LISTEN_INTERVAL: Duration = Duration::from_millis(200);

/// How long the last announcement may take when the service stops.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

/// What this replica tells the others, and hears of them.
#[derive(Debug)]
pub struct Relay {
    store: Store,
    writers: Arc<Writers>,
    /// The sessions that have ended here and were not announced yet. Never locked across an await.
    ended: Mutex<HashSet<SessionId>>,
    gathered: Notify,
}

impl Relay {
    /// Between the other replicas at this database and the writers of this one.
    pub fn new(store: Store, writers: Arc<Writers>) -> Self {
        Self { store, writers, ended: Mutex::default(), gathered: Notify::new() }
    }

    /// A session has ended: it is announced soon, together with whatever ends meanwhile.
    pub fn ended(&self, session: SessionId) {
        self.ended.lock().insert(session);
        self.gathered.notify_one();
    }

    /// Announces, listens and asks until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let announcing = repeat("announcing ended sessions", || self.announce(), || self.gather());
        let listening = repeat("listening for ended sessions", || self.listen(), || sleep(LISTEN_INTERVAL));
        let asking = repeat("asking for the writers' sessions", || self.ask(|_| true), || sleep(ASK_INTERVAL));
        shutdown.run_until_cancelled(async { tokio::join!(announcing, listening, asking) }).await;
        if timeout(LAST_TIMEOUT, self.announce()).await.is_err() {
            tracing::debug!("other replicas were not told of the last ended sessions, and will ask");
        }
    }

    async fn gather(&self) {
        self.gathered.notified().await;
        sleep(GATHER).await;
    }

    /// What cannot be announced is dropped: every replica asks soon enough.
    async fn announce(&self) -> Result<(), Error> {
        let ended = mem::take(&mut *self.ended.lock());
        if ended.is_empty() {
            return Ok(());
        }
        Ok(self.store.announce(&Vec::from_iter(ended)).await?)
    }

    /// Listens until the connection has been silent for long, or is lost, which only a failure to listen anew makes worth
    /// telling.
    async fn listen(&self) -> Result<(), Error> {
        let mut announcements = self.store.listen().await?;
        // Whatever was announced in between was not heard.
        self.ask(|_| true).await?;
        while let Ok(Ok(ended)) = timeout(SILENCE, announcements.next()).await {
            let ended: HashSet<SessionId> = ended.into_iter().collect();
            self.ask(|session| ended.contains(session)).await?;
        }
        Ok(())
    }

    /// Asks for the state of sessions that are written to here, and tells the writers of those that have ended.
    async fn ask(&self, about: impl Fn(&SessionId) -> bool) -> Result<(), Error> {
        let mut sessions = self.writers.sessions();
        sessions.retain(|(_, session)| about(session));
        if sessions.is_empty() {
            return Ok(());
        }
        for (session, ended) in self.store.ended_of(&sessions).await? {
            self.writers.tell(session, ended);
        }
        Ok(())
    }
}
