//! The writers in flight on this replica, by session, so that each can be notified when its session ends.
//!
//! A writer registers first and reads the session's state second: the store requires a [`Writer`] for that read. So an
//! end is never missed: either the read sees it, or the code that ends the session finds the writer here.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    name::{SessionId, TenantId},
    session::{End, OwnedSession},
};

/// Every writer in flight.
#[derive(Debug)]
pub struct Writers {
    /// How many writers a session may have at once on this replica. It is for fairness; correctness does not need it.
    limit: usize,
    /// Never locked across an await.
    sessions: Mutex<HashMap<SessionId, SessionWriters>>,
}

#[derive(Debug)]
struct SessionWriters {
    tenant: TenantId,
    count: usize,
    end: watch::Sender<Option<End>>,
}

/// A registered writer. Dropping it ends the registration.
#[derive(Debug)]
pub struct Writer {
    writers: Arc<Writers>,
    session: OwnedSession,
    end: watch::Receiver<Option<End>>,
}

impl Writers {
    /// Starts without writers, and allows at most `limit` of them per session.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, sessions: Mutex::default() })
    }

    /// How many writers a session may have at once on this replica.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Registers one more writer of the session; `None` if it already has as many as the limit allows.
    pub fn register(self: &Arc<Self>, session: OwnedSession) -> Option<Writer> {
        let none = || SessionWriters { tenant: session.tenant(), count: 0, end: watch::Sender::new(None) };
        let mut sessions = self.sessions.lock();
        let writers = sessions.entry(session.id()).or_insert_with(none);
        if writers.count >= self.limit {
            return None;
        }
        writers.count += 1;
        let end = writers.end.subscribe();
        Some(Writer { writers: Arc::clone(self), session, end })
    }

    /// The sessions that have writers, except those whose end the writers have been notified of.
    pub fn sessions(&self) -> Vec<(TenantId, SessionId)> {
        let sessions = self.sessions.lock();
        let without_end = sessions.iter().filter(|(_, writers)| writers.end.borrow().is_none());
        without_end.map(|(session, writers)| (writers.tenant, *session)).collect()
    }

    /// How many ranges are being received.
    pub fn count(&self) -> usize {
        let sessions = self.sessions.lock();
        sessions.values().map(|writers| writers.count).sum()
    }

    /// Notifies every writer of the session, even a stalled one, that the session has ended. Waits for none of them.
    pub fn notify(&self, session: SessionId, end: End) {
        let sessions = self.sessions.lock();
        if let Some(writers) = sessions.get(&session) {
            writers.end.send_replace(Some(end));
        }
    }
}

impl Writer {
    /// The session that this writer sends to.
    pub fn session(&self) -> &OwnedSession {
        &self.session
    }

    /// Waits until the session has ended.
    pub async fn wait_for_end(&self) -> End {
        let mut end = self.end.clone();
        // Waiting never fails, because the sender lives as long as this registration.
        let end = end.wait_for(Option::is_some).await.ok().and_then(|end| *end);
        match end {
            Some(end) => end,
            None => std::future::pending().await,
        }
    }

    /// How the session has ended; `None` until the writer is notified of the end.
    pub fn end(&self) -> Option<End> {
        *self.end.borrow()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut sessions = self.writers.sessions.lock();
        if let Some(writers) = sessions.get_mut(&self.session.id()) {
            writers.count -= 1;
            if writers.count == 0 {
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
        let session = Session { tenant, id: SessionId(Uuid::from_u128(session)), owner: owner.clone(), contents: None };
        session.owned_by(&Caller { tenant, principal: owner }).expect("the owner's session")
    }

    #[tokio::test]
    async fn every_writer_of_the_session_is_notified_and_no_other() {
        let writers = Writers::new(4);
        let notified = [writers.register(owned(1)).expect("a writer"), writers.register(owned(1)).expect("a writer")];
        let other = writers.register(owned(2)).expect("a writer");

        writers.notify(owned(1).id(), End::Canceled);

        for writer in &notified {
            assert_eq!(writer.wait_for_end().await, End::Canceled);
        }
        assert_eq!(other.end(), None);
    }

    #[test]
    fn dropping_a_writer_ends_its_registration() {
        let writers = Writers::new(1);
        let first = writers.register(owned(1)).expect("a writer");
        assert!(writers.register(owned(1)).is_none());
        drop(first);
        assert!(writers.register(owned(1)).is_some());
        assert!(writers.sessions().is_empty());
    }
}
