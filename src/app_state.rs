//! The state that all parts of the service share.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    blobs::Blobs,
    error::Error,
    guard::UploadUrls,
    name::SessionId,
    range::ByteRange,
    reclaim::Claims,
    relay::Relay,
    session::{End, OwnedSession, RangeView, UploadSession},
    store::Store,
    writers::{Writer, Writers},
};

/// What the handlers and the background tasks share. Clones are cheap.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The state of every upload.
    pub store: Store,
    /// The bytes of every upload.
    pub blobs: Blobs,
    /// The writers in flight on this replica.
    pub writers: Arc<Writers>,
    /// Notifies the writers of other replicas.
    pub relay: Arc<Relay>,
    /// The signer of upload URLs.
    pub upload_urls: Arc<UploadUrls>,
    /// One permit per download in progress. Ranges have their own permits, so that downloads never block uploads.
    pub downloads: Arc<Semaphore>,
    pub limits: Limits,
    /// The ended sessions whose bytes this replica drops.
    pub claims: Arc<Claims>,
}

/// The limits of what a caller may request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest document, in bytes.
    pub max_document_bytes: u64,
    /// The largest range, in bytes.
    pub max_range_bytes: u64,
    /// How many pieces a document may have.
    pub max_fragments: u32,
    /// How long a range may take, from its header to its commit.
    pub range_timeout: Duration,
}

impl AppState {
    /// A permit for one download, returned when dropped. Fails if all permits are taken.
    pub fn download_permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.downloads).try_acquire_owned().map_err(|_| Error::TooManyTransfers)
    }

    /// Reads the session as it is now. `None` if it was purged. Fails if the upload URL that authorized the call was
    /// renewed since: its holder must not get a newer one.
    pub async fn upload_session(&self, owned: &OwnedSession) -> Result<Option<UploadSession>, Error> {
        loop {
            let session = self.store.upload_session(owned).await?;
            if session.as_ref().is_some_and(|session| owned.is_renewed(session.url_generation)) {
                return Err(Error::UploadUrlRenewed);
            }
            if !session.as_ref().is_some_and(|session| session.is_overdue) {
                return Ok(session);
            }
            self.end_overdue(owned).await?;
        }
    }

    /// Reads the session as this writer's range sees it now. `None` if it was purged. Fails if the upload URL that the
    /// writer came with was renewed since.
    pub async fn range_view(&self, writer: &Writer, range: ByteRange) -> Result<Option<RangeView>, Error> {
        loop {
            let view = self.store.range_view(writer, range).await?;
            if view.as_ref().is_some_and(|view| writer.session().is_renewed(view.url_generation)) {
                return Err(Error::UploadUrlRenewed);
            }
            if !view.as_ref().is_some_and(|view| view.is_overdue) {
                return Ok(view);
            }
            self.end_overdue(writer.session()).await?;
        }
    }

    /// Ends a session that a read has found overdue. A caller must not get the answer that it has expired while a range
    /// that is committing may still prolong it.
    async fn end_overdue(&self, owned: &OwnedSession) -> Result<(), Error> {
        if self.store.expire_if_overdue(owned).await? {
            self.announce_end(owned.id(), End::Expired);
        }
        Ok(())
    }

    /// Announces that a session has ended, and wakes the worker that claims it and drops its bytes. Waits for nobody.
    pub fn announce_end(&self, session: SessionId, end: End) {
        self.notify_writers(session, end);
        self.claims.wake();
    }

    /// Notifies the writers of an ended session on this replica at once. Leaves the session for the relay to announce to
    /// other replicas. Waits for none of them.
    pub fn notify_writers(&self, session: SessionId, end: End) {
        self.writers.notify(session, end);
        crash_point!("end.notified");
        self.relay.announce(session);
    }

    /// Announces that a session's upload URL was renewed. Notifies the writers that came with an earlier one, on this
    /// replica at once, and leaves the session for the relay to announce to other replicas. Waits for none of them.
    pub fn announce_renewal(&self, session: &UploadSession) {
        self.writers.notify_of_renewal(session.id, session.url_generation);
        self.relay.announce(session.id);
    }
}
