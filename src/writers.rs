//! The writers in flight on this replica, by session, so that each can be notified when its session ends, or when the
//! upload URL that it came with is renewed.
//!
//! A writer registers first and reads the session's state second: the store requires a [`Writer`] for that read. So an
//! end is never missed: either the read sees it, or the code that ends the session finds the writer here.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    name::{SessionId, TenantId},
    session::{End, OwnedSession, WriterEnd},
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
    notice: watch::Sender<Notice>,
}

/// What the writers of a session were notified of.
#[derive(Debug, Clone, Copy, Default)]
struct Notice {
    /// How the session has ended.
    end: Option<End>,
    /// How often the session's upload URL was renewed, as far as this replica knows.
    url_generation: u32,
}

/// A registered writer. Dropping it ends the registration.
#[derive(Debug)]
pub struct Writer {
    writers: Arc<Writers>,
    session: OwnedSession,
    notice: watch::Receiver<Notice>,
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
        let none =
            || SessionWriters { tenant: session.tenant(), count: 0, notice: watch::Sender::new(Notice::default()) };
        let mut sessions = self.sessions.lock();
        let writers = sessions.entry(session.id()).or_insert_with(none);
        if writers.count >= self.limit {
            return None;
        }
        writers.count += 1;
        let notice = writers.notice.subscribe();
        Some(Writer { writers: Arc::clone(self), session, notice })
    }

    /// The sessions that have writers, except those whose end the writers have been notified of.
    pub fn sessions(&self) -> Vec<(TenantId, SessionId)> {
        let sessions = self.sessions.lock();
        let without_end = sessions.iter().filter(|(_, writers)| writers.notice.borrow().end.is_none());
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
            writers.notice.send_modify(|notice| notice.end = Some(end));
        }
    }

    /// Notifies the writers that came with an upload URL of an earlier generation, even stalled ones, that it was
    /// renewed. Waits for none of them.
    pub fn notify_of_renewal(&self, session: SessionId, url_generation: u32) {
        let sessions = self.sessions.lock();
        if let Some(writers) = sessions.get(&session) {
            writers.notice.send_modify(|notice| notice.url_generation = notice.url_generation.max(url_generation));
        }
    }
}

impl Writer {
    /// The session that this writer sends to.
    pub fn session(&self) -> &OwnedSession {
        &self.session
    }

    /// Waits until the session has ended, or the upload URL that this writer came with was renewed.
    pub async fn wait_for_end(&self) -> WriterEnd {
        let mut notices = self.notice.clone();
        // Waiting never fails, because the sender lives as long as this registration.
        let notice = notices.wait_for(|notice| self.end_of(*notice).is_some()).await.ok().map(|notice| *notice);
        match notice.and_then(|notice| self.end_of(notice)) {
            Some(end) => end,
            None => std::future::pending().await,
        }
    }

    /// Why the writer must end; `None` until it is notified.
    pub fn end(&self) -> Option<WriterEnd> {
        self.end_of(*self.notice.borrow())
    }

    fn end_of(&self, notice: Notice) -> Option<WriterEnd> {
        // A generation that this replica has heard of late is lower than that of the writer's URL.
        let is_renewed = self.session.url_generation().is_some_and(|presented| presented < notice.url_generation);
        let renewed = is_renewed.then_some(WriterEnd::UploadUrlRenewed);
        notice.end.map(WriterEnd::Session).or(renewed)
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
    use crate::session::{Caller, Capability, Principal, Session};

    fn owned(session: u128) -> OwnedSession {
        let session = session_with(session, 0);
        let caller = Caller { tenant: session.tenant, principal: session.owner.clone() };
        session.owned_by(&caller).expect("the owner's session")
    }

    /// Owned with an upload URL of this generation.
    fn held(session: u128, url_generation: u32) -> OwnedSession {
        let session = session_with(session, url_generation);
        let capability = Capability { tenant: session.tenant, session: session.id, url_generation };
        session.authorized_by(&capability).expect("a proof")
    }

    fn session_with(id: u128, url_generation: u32) -> Session {
        let (tenant, owner) = (TenantId(Uuid::from_u128(7)), Principal::User("ada".into()));
        Session { tenant, id: SessionId(Uuid::from_u128(id)), owner, url_generation, contents: None }
    }

    #[tokio::test]
    async fn every_writer_of_the_session_is_notified_and_no_other() {
        let writers = Writers::new(4);
        let notified = [writers.register(owned(1)).expect("a writer"), writers.register(owned(1)).expect("a writer")];
        let other = writers.register(owned(2)).expect("a writer");

        writers.notify(owned(1).id(), End::Canceled);

        for writer in &notified {
            assert_eq!(writer.wait_for_end().await, WriterEnd::Session(End::Canceled));
        }
        assert_eq!(other.end(), None);
    }

    #[tokio::test]
    async fn a_renewal_notifies_the_writers_with_earlier_urls_and_no_other() {
        let writers = Writers::new(9);
        let register = |owned| writers.register(owned).expect("a writer");
        let (first, second, token) = (register(held(1, 0)), register(held(1, 1)), register(owned(1)));
        let other = register(held(2, 0));

        writers.notify_of_renewal(owned(1).id(), 1);

        assert_eq!(first.wait_for_end().await, WriterEnd::UploadUrlRenewed);
        assert_eq!(register(held(1, 0)).end(), Some(WriterEnd::UploadUrlRenewed), "it came later");
        assert_eq!([second.end(), token.end(), other.end()], [None; 3]);
        writers.notify_of_renewal(owned(1).id(), 2);
        writers.notify_of_renewal(owned(1).id(), 1);
        assert_eq!([second.end(), token.end()], [Some(WriterEnd::UploadUrlRenewed), None]);
        writers.notify(owned(1).id(), End::Canceled);
        assert_eq!([second.end(), token.end()], [Some(WriterEnd::Session(End::Canceled)); 2]);
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
