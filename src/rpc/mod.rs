//! The handlers, one file for each service: parse → decide → reply. The guard has authorized the call already: a
//! handler takes its proof from the request.

mod print_catalog;
mod print_documents;
mod print_jobs;
mod range_body;
mod range_header;
mod reply;
mod slices;
mod upload_range;
mod upload_sessions;

use std::sync::Arc;

use print_upload_client::MAX_CHUNK_BYTES;
use tonic::{Extensions, service::Routes};

use self::{
    print_catalog::PrintCatalogService, print_documents::PrintDocumentsService, print_jobs::PrintJobsService,
    upload_sessions::UploadSessionsService,
};
use crate::{
    app_state::AppState,
    error::Error,
    proto::{
        print_catalog_server::PrintCatalogServer, print_documents_server::PrintDocumentsServer,
        print_jobs_server::PrintJobsServer, upload_sessions_server::UploadSessionsServer,
    },
    telemetry::RequestId,
};

/// The largest message that is decoded, in bytes. More than a chunk with its framing, so that a chunk over the limit is
/// decoded and gets its own error.
const MAX_MESSAGE_BYTES: usize = 2 * MAX_CHUNK_BYTES;

/// The gRPC services, without the guard in front of them.
pub fn routes(app: AppState) -> Routes {
    let app = Arc::new(app);
    let sessions = UploadSessionsServer::new(UploadSessionsService(Arc::clone(&app)));
    let documents = PrintDocumentsServer::new(PrintDocumentsService(Arc::clone(&app)));
    let jobs = PrintJobsServer::new(PrintJobsService(Arc::clone(&app)));
    let catalog = PrintCatalogServer::new(PrintCatalogService(app));
    Routes::new(sessions.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(documents)
        .add_service(jobs)
        .add_service(catalog)
}

/// The proof or the permit that the guard has put into the request.
fn from_guard<T: Clone + Send + Sync + 'static>(extensions: &Extensions) -> Result<T, Error> {
    let missing = || Error::Internal(format!("a handler ran without its proof, {}", std::any::type_name::<T>()));
    extensions.get::<T>().cloned().ok_or_else(missing)
}

/// The request's id, for the audit trail.
fn request_id(extensions: &Extensions) -> String {
    extensions.get::<RequestId>().map(|id| id.as_str().to_owned()).unwrap_or_default()
}

/// The result of a task. Only a bug makes the task itself fail.
fn task_result<T>(joined: Result<Result<T, Error>, tokio::task::JoinError>) -> Result<T, Error> {
    joined.unwrap_or_else(|error| Err(Error::Internal(error.to_string())))
}
