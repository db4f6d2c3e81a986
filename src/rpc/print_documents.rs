//! `PrintDocuments`: the documents' states and bytes.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use super::{
    from_guard, reply,
    slices::{Slice, slices},
};
use crate::{
    app_state::AppState,
    blobs::{self, Folder},
    error::Error,
    proto::{
        DownloadPrintDocumentRequest, DownloadPrintDocumentResponse, GetPrintDocumentRequest,
        ListPrintDocumentsRequest, ListPrintDocumentsResponse, PrintDocument,
        download_print_document_response::Content, print_documents_server::PrintDocuments,
    },
    session::{PermittedDocument, State, UploadSession},
    store::StoredPiece,
    telemetry::RequestLog,
};

/// How many chunks are read at once, ahead of the one that is being sent.
const READ_AHEAD: usize = 2;

/// The handlers of `PrintDocuments`.
#[derive(Debug)]
pub struct PrintDocumentsService(pub Arc<AppState>);

/// A document that is being sent.
struct Download {
    permitted: PermittedDocument,
    session: UploadSession,
    manifest: Vec<StoredPiece>,
}

#[tonic::async_trait]
impl PrintDocuments for PrintDocumentsService {
    type DownloadPrintDocumentStream =
        Pin<Box<dyn Stream<Item = Result<DownloadPrintDocumentResponse, Status>> + Send>>;

    async fn get_print_document(
        &self,
        request: Request<GetPrintDocumentRequest>,
    ) -> Result<Response<PrintDocument>, Status> {
        let permitted: PermittedDocument = from_guard(request.extensions())?;
        Ok(Response::new(self.document(&permitted).await?))
    }

    async fn list_print_documents(
        &self,
        request: Request<ListPrintDocumentsRequest>,
    ) -> Result<Response<ListPrintDocumentsResponse>, Status> {
        let permitted: PermittedDocument = from_guard(request.extensions())?;
        let request = request.into_inner();
        if request.page_size < 0 {
            return Err(Error::invalid_field("page_size", "must not be negative").into());
        }
        if !request.page_token.is_empty() {
            return Err(Error::invalid_field("page_token", "must be empty: there is no second page").into());
        }
        let print_documents = vec![self.document(&permitted).await?];
        Ok(Response::new(ListPrintDocumentsResponse { print_documents, next_page_token: String::new() }))
    }

    async fn download_print_document(
        &self,
        request: Request<DownloadPrintDocumentRequest>,
    ) -> Result<Response<Self::DownloadPrintDocumentStream>, Status> {
        let permitted: PermittedDocument = from_guard(request.extensions())?;
        let log = RequestLog::of(request.extensions());
        let offset = request.into_inner().offset;
        let Ok(offset) = u64::try_from(offset) else {
            return Err(Error::invalid_field("offset", "must not be negative").into());
        };
        let session = self.0.store.current_session(&permitted).await.map_err(Error::from)?;
        let session = session.filter(|session| session.state == State::Completed).ok_or(Error::DocumentNotUploaded)?;
        log.set_upload(session.id.0);
        let permit = self.0.download_permit()?;
        let size_bytes = session.properties.size_bytes;
        if offset > size_bytes {
            return Err(Error::OffsetOutOfRange(size_bytes).into());
        }
        let manifest = self.0.store.manifest(&permitted, &session).await.map_err(Error::from)?;
        let document = reply::uploaded_document(&session, &manifest)?;
        let chunks = self.chunks(Download { permitted, session, manifest }, permit, offset);
        let chunks = complete(chunks, size_bytes - offset, self.0.limits.range_timeout);
        let first = DownloadPrintDocumentResponse { content: Some(Content::Document(document)) };
        Ok(Response::new(Box::pin(stream::iter([Ok(first)]).chain(chunks))))
    }
}

impl PrintDocumentsService {
    async fn document(&self, permitted: &PermittedDocument) -> Result<PrintDocument, Error> {
        match self.0.store.current_session(permitted).await? {
            Some(session) if session.state == State::Completed => {
                let manifest = self.0.store.manifest(permitted, &session).await?;
                reply::uploaded_document(&session, &manifest)
            }
            session => {
                let is_uploading = session.is_some_and(|session| session.state == State::Active && !session.is_overdue);
                Ok(reply::pending_document(&permitted.document().name(), is_uploading))
            }
        }
    }

    /// The document's bytes from `offset` on. A task reads them ahead. It ends when the caller hangs up, or does not
    /// read for as long as a range may take. The task holds the permit until it ends.
    fn chunks(
        &self,
        download: Download,
        permit: OwnedSemaphorePermit,
        offset: u64,
    ) -> ReceiverStream<Result<DownloadPrintDocumentResponse, Status>> {
        let app = Arc::clone(&self.0);
        let stall_timeout = app.limits.range_timeout;
        let (chunks, receiver) = mpsc::channel(1);
        let reading = async move {
            let folder = Folder { tenant: download.permitted.document().tenant, session: download.session.id };
            let slices: Vec<Slice> =
                download.manifest.iter().flat_map(|stored| slices(stored, offset..u64::MAX)).collect();
            let reads = stream::iter(slices).map(|slice| app.blobs.read(folder, slice.object, slice.bytes));
            let mut reads = reads.buffered(READ_AHEAD);
            while let Some(read) = reads.next().await {
                let message = match read {
                    Ok(chunk) => Ok(DownloadPrintDocumentResponse { content: Some(Content::Chunk(chunk)) }),
                    Err(error) => Err(explain(error, &app, &download).await.into()),
                };
                let has_failed = message.is_err();
                if chunks.send_timeout(message, stall_timeout).await.is_err() || has_failed {
                    break;
                }
            }
            drop(permit);
        };
        tokio::spawn(reading.in_current_span());
        ReceiverStream::new(receiver)
    }
}

/// The chunks of `left` bytes. If they end early, the caller has stalled, and the last message is an error: a part must
/// not look like the whole document.
fn complete(
    chunks: ReceiverStream<Result<DownloadPrintDocumentResponse, Status>>,
    left: u64,
    stall_timeout: Duration,
) -> impl Stream<Item = Result<DownloadPrintDocumentResponse, Status>> {
    stream::unfold(Some((chunks, left)), move |state| async move {
        let (mut chunks, left) = state?;
        match chunks.next().await {
            Some(Ok(message)) => {
                let length = if let Some(Content::Chunk(chunk)) = &message.content { chunk.len() as u64 } else { 0 };
                Some((Ok(message), Some((chunks, left.saturating_sub(length)))))
            }
            Some(Err(status)) => Some((Err(status), None)),
            None if left > 0 => Some((Err(Error::DownloadTimeout(stall_timeout).into()), None)),
            None => None,
        }
    })
}

/// The error of a failed read. If the job was deleted during the download, that is the cause: then the document has no
/// bytes any more. Otherwise the store has failed, and a missing object means lost bytes.
async fn explain(error: blobs::Error, app: &AppState, download: &Download) -> Error {
    match app.store.manifest(&download.permitted, &download.session).await {
        Ok(manifest) if manifest.is_empty() => Error::DocumentNotFound,
        // As long as the manifest cannot be read, nobody knows whether missing bytes are lost.
        Err(unknown) if matches!(error, blobs::Error::Missing(_)) => unknown.into(),
        Ok(_) | Err(_) => error.into(),
    }
}
