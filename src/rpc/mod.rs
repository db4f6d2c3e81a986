//! The handlers, one file a service: parse → decide → reply. Who may call, the interceptor has decided: a handler takes
//! its proof from the request.

mod print_catalog;
mod print_documents;
mod reply;
mod upload_range;
mod upload_sessions;

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;
use tonic::{Extensions, service::Routes};

pub use print_catalog::PrintCatalogService;
pub use print_documents::PrintDocumentsService;
pub use upload_sessions::UploadSessionsService;

use crate::{
    blobs::Blobs,
    error::Error,
    guard::UploadUrls,
    name::SessionId,
    proto::{
        print_catalog_server::PrintCatalogServer, print_documents_server::PrintDocumentsServer,
        upload_sessions_server::UploadSessionsServer,
    },
    session::Ended,
    store::Store,
    telemetry::RequestId,
    writers::Writers,
};

/// The largest chunk of a range or of a download, in bytes.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;

/// The largest message that is decoded at all: a chunk with its framing, and room to say that a chunk is too large.
const MAX_MESSAGE_BYTES: usize = 2 * MAX_CHUNK_BYTES;

/// What the handlers work with.
#[derive(Debug, Clone)]
pub struct Services {
    /// The state of every upload.
    pub store: Store,
    /// The bytes of every upload.
    pub blobs: Blobs,
    /// Who is sending on this replica.
    pub writers: Arc<Writers>,
    /// The signer of upload URLs.
    pub upload_urls: Arc<UploadUrls>,
    /// What a caller may ask for.
    pub limits: Limits,
    /// Wakes the sweeper: there are bytes to drop.
    pub reclaim: Arc<Notify>,
}

/// What a caller may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest document, in bytes.
    pub max_document_bytes: u64,
    /// The largest range, in bytes.
    pub max_range_bytes: u64,
    /// How many fragments a document may have.
    pub max_fragments: u32,
    /// How long a range may take, from its admission to its commit.
    pub range_timeout: Duration,
}

impl Services {
    /// The gRPC services, without the interceptor in front of them.
    pub fn routes(self) -> Routes {
        let services = Arc::new(self);
        let sessions = UploadSessionsServer::new(UploadSessionsService(Arc::clone(&services)));
        let documents = PrintDocumentsServer::new(PrintDocumentsService(Arc::clone(&services)));
        let catalog = PrintCatalogServer::new(PrintCatalogService(services));
        Routes::new(sessions.max_decoding_message_size(MAX_MESSAGE_BYTES)).add_service(documents).add_service(catalog)
    }

    /// A session has ended: its writers are told, and its bytes go.
    fn session_ended(&self, session: SessionId, ended: Ended) {
        self.writers.tell(session, ended);
        self.reclaim.notify_one();
    }
}

/// The proof that the interceptor has put into the request.
fn proof<T: Clone + Send + Sync + 'static>(extensions: &Extensions) -> Result<T, Error> {
    let missing = || Error::Internal(format!("a handler ran without its proof, {}", std::any::type_name::<T>()));
    extensions.get::<T>().cloned().ok_or_else(missing)
}

/// The request's id, for the audit trail.
fn request_id(extensions: &Extensions) -> String {
    extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}
