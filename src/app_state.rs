//! The state that all parts of the service share.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::{
    blobs::Blobs, error::Error, guard::UploadUrls, name::SessionId, relay::Relay, session::End, store::Store,
    writers::Writers,
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
    /// Wakes a worker of `reclaim` when a session has ended, so that its bytes are dropped at once.
    pub wake_reclaim: Arc<Notify>,
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

    /// Announces that a session has ended. Notifies its writers on this replica at once. Leaves the session for the
    /// relay to announce to other replicas. Wakes a worker that drops the bytes. Waits for none of them.
    pub fn announce_end(&self, session: SessionId, end: End) {
        self.writers.notify(session, end);
        self.relay.announce(session);
        self.wake_reclaim.notify_one();
    }
}
