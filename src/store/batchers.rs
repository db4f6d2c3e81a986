//! The batchers of the calls that come often. Cancels have their own, so that no other call can delay them.

use std::sync::Arc;

use super::{
    BatchLimits, Purpose, Terms, batch::Batcher, cancel::Cancel, commit_range::CommitRange, database::Database,
    find_document::FindDocument, read_session::ReadSession, reclaim::Settle, resolve::FindSession,
    view_range::ViewRange,
};

/// A batcher for each kind of operation.
#[derive(Debug)]
pub(super) struct Batchers {
    find_session: Arc<Batcher<FindSession>>,
    find_document: Arc<Batcher<FindDocument>>,
    find_session_to_cancel: Arc<Batcher<FindSession>>,
    find_document_to_cancel: Arc<Batcher<FindDocument>>,
    pub(super) cancel: Arc<Batcher<Cancel>>,
    pub(super) read_session: Arc<Batcher<ReadSession>>,
    pub(super) view_range: Arc<Batcher<ViewRange>>,
    pub(super) commit_range: Arc<Batcher<CommitRange>>,
    pub(super) settle: Arc<Batcher<Settle>>,
}

impl Batchers {
    /// Opens no connection before it is used.
    pub(super) fn new(database: &Database, terms: &Terms, limits: BatchLimits) -> Self {
        Self {
            find_session: Batcher::new(database, terms, limits),
            find_document: Batcher::new(database, terms, limits),
            find_session_to_cancel: Batcher::new(database, terms, limits),
            find_document_to_cancel: Batcher::new(database, terms, limits),
            cancel: Batcher::new(database, terms, limits),
            read_session: Batcher::new(database, terms, limits),
            view_range: Batcher::new(database, terms, limits),
            commit_range: Batcher::new(database, terms, limits),
            settle: Batcher::new(database, terms, limits),
        }
    }

    pub(super) fn find_session(&self, purpose: Purpose) -> &Arc<Batcher<FindSession>> {
        match purpose {
            Purpose::Cancel => &self.find_session_to_cancel,
            Purpose::Read | Purpose::Other => &self.find_session,
        }
    }

    pub(super) fn find_document(&self, purpose: Purpose) -> &Arc<Batcher<FindDocument>> {
        match purpose {
            Purpose::Cancel => &self.find_document_to_cancel,
            Purpose::Read | Purpose::Other => &self.find_document,
        }
    }

    /// Closes their connections.
    pub(super) async fn close(&self) {
        self.find_session.close().await;
        self.find_document.close().await;
        self.find_session_to_cancel.close().await;
        self.find_document_to_cancel.close().await;
        self.cancel.close().await;
        self.read_session.close().await;
        self.view_range.close().await;
        self.commit_range.close().await;
        self.settle.close().await;
    }
}
