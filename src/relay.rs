//! Writers hear of an end on whatever replica it happens.
//!
//! Whoever ends a session tells its own writers at once and leaves the session here; one task announces what has gathered.
//! Every replica listens, and asks the database for the state of its own writers' sessions: of those that were announced, of
//! all of them when its connection was made anew, and of all of them every five seconds. A writer is told only what the
//! database says, so that nothing depends on an announcement, and a false one does nothing.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    name::{SessionId, TenantId},
    repeat::repeat,
    services::Services,
};

/// How often the sessions that are written to here are asked for their state.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a silent connection is listened to before it is made anew: one can be dead without a word.
const SILENCE: Duration = Duration::from_secs(60);

/// How long to wait before listening anew.
const LISTEN_INTERVAL: Duration = Duration::from_millis(200);

/// How long the last announcement may take when the service stops.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

/// The sessions that have ended here and were not announced yet.
#[derive(Debug, Default)]
pub struct Relay {
    /// Never locked across an await.
    ended: Mutex<HashSet<SessionId>>,
    gathered: Notify,
}

impl Relay {
    /// Has a session announced, together with whatever ends meanwhile.
    pub fn announce(&self, session: SessionId) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(session);
        self.gathered.notify_one();
    }

    fn take(&self) -> Vec<SessionId> {
        mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }
}

/// Announces, listens and asks until `shutdown`.
pub async fn run(services: Services, shutdown: CancellationToken) {
    let services = &services;
    let gathered = || services.relay.gathered.notified();
    let announcing = repeat("announcing ended sessions", || announce(services), gathered);
    let listening = repeat("listening for ended sessions", || listen(services), || sleep(LISTEN_INTERVAL));
    let asking = repeat("asking for the writers' sessions", || ask(services, |_| true), || sleep(ASK_INTERVAL));
    shutdown.run_until_cancelled(async { tokio::join!(announcing, listening, asking) }).await;
    if timeout(LAST_TIMEOUT, announce(services)).await.is_err() {
        tracing::debug!("other replicas were not told of the last ended sessions, and will ask");
    }
}

/// What cannot be announced is dropped: every replica asks soon enough.
async fn announce(services: &Services) -> Result<(), Error> {
    let ended = services.relay.take();
    if ended.is_empty() {
        return Ok(());
    }
    Ok(services.store.announce(&ended).await?)
}

/// Listens until the connection has been silent for long, or is lost, which only a failure to listen anew makes worth telling.
async fn listen(services: &Services) -> Result<(), Error> {
    let mut announcements = services.store.listen().await?;
    // Whatever was announced in between was not heard.
    ask(services, |_| true).await?;
    while let Ok(Ok(ended)) = timeout(SILENCE, announcements.next()).await {
        let ended: HashSet<SessionId> = ended.into_iter().collect();
        ask(services, |session| ended.contains(session)).await?;
    }
    Ok(())
}

/// Asks for the state of sessions that are written to here, and tells the writers of those that have ended.
async fn ask(services: &Services, about: impl Fn(&SessionId) -> bool) -> Result<(), Error> {
    let sessions: Vec<(TenantId, SessionId)> =
        services.writers.sessions().into_iter().filter(|(_, session)| about(session)).collect();
    if sessions.is_empty() {
        return Ok(());
    }
    for (session, ended) in services.store.ended_of(&sessions).await? {
        services.writers.tell(session, ended);
    }
    Ok(())
}
