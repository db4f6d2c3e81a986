//! The writers in flight on this replica: who is sending to which session, so that each can be notified when it ends.
//!
//! A writer registers first and reads the session's state second: the store lets only a [`Writer`] read it. So whoever ends a
//! session is either seen by that read, or finds the writer here.

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
    end: watch::Sender<Option<Ended>>,
}

/// A registered writer. Dropping it ends the registration.
#[derive(Debug)]
pub struct Writer {
    writers: Arc<Writers>,
    session: OwnedSession,
    end: watch::Receiver<Option<Ended>>,
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

    /// Registers one more writer of the session; `None` when it has as many as it may have.
    pub fn register(self: &Arc<Self>, session: OwnedSession) -> Option<Writer> {
        let new = || Writing { tenant: session.tenant(), writers: 0, end: watch::Sender::new(None) };
        let mut sessions = self.sessions.lock();
        let writing = sessions.entry(session.id()).or_insert_with(new);
        if writing.writers >= self.limit {
            return None;
        }
        writing.writers += 1;
        Some(Writer { writers: Arc::clone(self), session, end: writing.end.subscribe() })
    }

    /// The sessions that are being written to, without those whose writers were notified of their end.
    pub fn sessions(&self) -> Vec<(TenantId, SessionId)> {
        let sessions = self.sessions.lock();
        let open = sessions.iter().filter(|(_, writing)| writing.end.borrow().is_none());
        open.map(|(session, writing)| (writing.tenant, *session)).collect()
    }

    /// How many ranges are being received.
    pub fn count(&self) -> usize {
        let sessions = self.sessions.lock();
        sessions.values().map(|writing| writing.writers).sum()
    }

    /// Notifies every writer of the session, stalled or not, that it has ended. Waits for none.
    pub fn notify(&self, session: SessionId, end: Ended) {
        let sessions = self.sessions.lock();
        if let Some(writing) = sessions.get(&session) {
            writing.end.send_replace(Some(end));
        }
    }
}

impl Writer {
    /// The session that it writes to.
    pub fn session(&self) -> &OwnedSession {
        &self.session
    }

    /// Waits until the session has ended.
    pub async fn wait_for_end(&self) -> Ended {
        let mut end = self.end.clone();
        // The sender lives as long as this registration, so that waiting never fails.
        let end = end.wait_for(Option::is_some).await.ok().and_then(|end| *end);
        match end {
            Some(end) => end,
            None => std::future::pending().await,
        }
    }

    /// How the session has ended; `None` as long as no end was notified.
    pub fn end(&self) -> Option<Ended> {
        *self.end.borrow()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut sessions = self.writers.sessions.lock();
        if let Some(writing) = sessions.get_mut(&self.session.id()) {
            writing.writers -= 1;
            if writing.writers == 0 {
                sessions.remove(&self.session.id());
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
    async fn every_writer_of_the_session_is_notified_and_no_other() {
        let writers = Writers::new(4);
        let notified = [writers.register(owned(1)).expect("a writer"), writers.register(owned(1)).expect("a writer")];
        let spared = writers.register(owned(2)).expect("a writer");

        writers.notify(owned(1).id(), Ended::Canceled);

        for writer in &notified {
            assert_eq!(writer.wait_for_end().await, Ended::Canceled);
        }
        assert_eq!(spared.end(), None);
    }

    #[test]
    fn a_dropped_writer_makes_room_for_another() {
        let writers = Writers::new(1);
        let first = writers.register(owned(1)).expect("a writer");
        assert!(writers.register(owned(1)).is_none());
        drop(first);
        assert!(writers.register(owned(1)).is_some());
        assert!(writers.sessions().is_empty());
    }
}
