//! The writers in flight on this replica: who is sending to which session, so that each can be told when it ends.
//!
//! A writer registers first and reads the session's state second: whoever ends a session either is seen by that read, or
//! finds the writer here.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    name::{SessionId, TenantId},
    session::{Ended, OwnedSession},
};

/// Every writer in flight.
#[derive(Debug)]
pub struct Writers {
    /// How many writers a session may have at once. Per replica: fairness, not an invariant.
    limit: usize,
    /// Never locked across an await.
    sessions: Mutex<HashMap<SessionId, Writing>>,
}

#[derive(Debug)]
struct Writing {
    tenant: TenantId,
    writers: usize,
    ended: watch::Sender<Option<Ended>>,
}

/// One writer's place; given back when dropped.
#[derive(Debug)]
pub struct Writer {
    writers: Arc<Writers>,
    session: SessionId,
    ended: watch::Receiver<Option<Ended>>,
}

impl Writers {
    /// No writers yet, and at most `limit` a session.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, sessions: Mutex::default() })
    }

    /// How many writers a session may have at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Takes a place among the session's writers; `None` when all are taken.
    pub fn register(self: &Arc<Self>, owned: &OwnedSession) -> Option<Writer> {
        let (tenant, session) = (owned.tenant(), owned.id());
        let mut sessions = self.sessions.lock();
        let writing =
            sessions.entry(session).or_insert_with(|| Writing { tenant, writers: 0, ended: watch::Sender::new(None) });
        if writing.writers >= self.limit {
            return None;
        }
        writing.writers += 1;
        Some(Writer { writers: Arc::clone(self), session, ended: writing.ended.subscribe() })
    }

    /// The sessions that are being written to, but for those whose writers have been told of their end.
    pub fn sessions(&self) -> Vec<(TenantId, SessionId)> {
        let sessions = self.sessions.lock();
        let untold = sessions.iter().filter(|(_, writing)| writing.ended.borrow().is_none());
        untold.map(|(session, writing)| (writing.tenant, *session)).collect()
    }

    /// How many ranges are being received.
    pub fn count(&self) -> usize {
        let sessions = self.sessions.lock();
        sessions.values().map(|writing| writing.writers).sum()
    }

    /// Tells every writer of the session, stalled or not, that it has ended. Waits for none.
    pub fn tell(&self, session: SessionId, ended: Ended) {
        let sessions = self.sessions.lock();
        if let Some(writing) = sessions.get(&session) {
            writing.ended.send_replace(Some(ended));
        }
    }
}

impl Writer {
    /// Waits until the session has ended.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        // The sender lives as long as this place is taken, so that waiting never fails.
        let told = ended.wait_for(Option::is_some).await.ok().and_then(|ended| *ended);
        match told {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }

    /// Whether the session has ended by now.
    pub fn has_ended(&self) -> Option<Ended> {
        *self.ended.borrow()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut sessions = self.writers.sessions.lock();
        if let Some(writing) = sessions.get_mut(&self.session) {
            writing.writers -= 1;
            if writing.writers == 0 {
                sessions.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::session::{Caller, Principal, Session};

    fn owned(session: u128) -> OwnedSession {
        let (tenant, owner) = (TenantId(Uuid::from_u128(7)), Principal::User("ada".into()));
        let session = Session { tenant, id: SessionId(Uuid::from_u128(session)), owner: owner.clone() };
        session.owned_by(&Caller { tenant, principal: owner }).expect("her own session")
    }

    #[tokio::test]
    async fn every_writer_of_the_session_is_told_and_no_other() {
        let writers = Writers::new(4);
        let told = [writers.register(&owned(1)).expect("a place"), writers.register(&owned(1)).expect("a place")];
        let spared = writers.register(&owned(2)).expect("a place");

        writers.tell(owned(1).id(), Ended::Canceled);

        for writer in &told {
            assert_eq!(writer.ended().await, Ended::Canceled);
        }
        assert_eq!(spared.has_ended(), None);
    }

    #[test]
    fn places_are_given_back() {
        let writers = Writers::new(1);
        let first = writers.register(&owned(1)).expect("a place");
        assert!(writers.register(&owned(1)).is_none());
        drop(first);
        assert!(writers.register(&owned(1)).is_some());
        assert!(writers.sessions().is_empty());
    }
}
