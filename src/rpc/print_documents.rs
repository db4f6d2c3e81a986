//! `PrintDocuments`: what has been uploaded, and its bytes.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{proof, reply};
use crate::{
    blobs::{self, Folder},
    error::Error,
    name::{DocumentName, Queue},
    proto::{
        DownloadPrintDocumentRequest, DownloadPrintDocumentResponse, GetPrintDocumentRequest, PrintDocument,
        download_print_document_response::Content, print_documents_server::PrintDocuments,
    },
    range::MAX_CHUNK_BYTES,
    services::Services,
    session::{PermittedDocument, State, UploadSession},
    store::StoredPiece,
};

/// How many chunks are read ahead of the one that is being sent.
const READ_AHEAD: usize = 2;

/// The handlers of `PrintDocuments`.
#[derive(Debug)]
pub struct PrintDocumentsService(pub Arc<Services>);

/// A chunk of a document, and where it is.
struct Slice {
    object: Uuid,
    start: u64,
    end: u64,
}

#[tonic::async_trait]
impl PrintDocuments for PrintDocumentsService {
    type DownloadPrintDocumentStream =
        Pin<Box<dyn Stream<Item = Result<DownloadPrintDocumentResponse, Status>> + Send>>;

    async fn get_print_document(
        &self,
        request: Request<GetPrintDocumentRequest>,
    ) -> Result<Response<PrintDocument>, Status> {
        let permitted: PermittedDocument = proof(request.extensions())?;
        let session = self.0.store.live_session(&permitted).await.map_err(Error::from)?;
        let document = match session {
            Some(session) if session.state == State::Completed => {
                let manifest = self.0.store.manifest(&permitted, &session).await.map_err(Error::from)?;
                reply::uploaded_document(&session, &manifest)
            }
            session => {
                let is_uploading = session.is_some_and(|session| session.state == State::Active);
                reply::pending_document(&name_of(&permitted), is_uploading)
            }
        };
        Ok(Response::new(document))
    }

    async fn download_print_document(
        &self,
        request: Request<DownloadPrintDocumentRequest>,
    ) -> Result<Response<Self::DownloadPrintDocumentStream>, Status> {
        let permitted: PermittedDocument = proof(request.extensions())?;
        let offset = request.into_inner().offset;
        let Ok(offset) = u64::try_from(offset) else {
            let problem = "must not be negative".into();
            return Err(Error::InvalidField { field: "offset", problem }.into());
        };
        let session = self.0.store.live_session(&permitted).await.map_err(Error::from)?;
        let session = session.filter(|session| session.state == State::Completed).ok_or(Error::DocumentNotUploaded)?;
        let size_bytes = session.properties.size_bytes;
        if offset > size_bytes {
            return Err(Error::OffsetOutOfRange(size_bytes).into());
        }
        let manifest = self.0.store.manifest(&permitted, &session).await.map_err(Error::from)?;
        let document = reply::uploaded_document(&session, &manifest);
        let chunks = self.chunks(permitted, session, manifest, offset);
        let first = DownloadPrintDocumentResponse { content: Some(Content::Document(document)) };
        Ok(Response::new(Box::pin(stream::iter([Ok(first)]).chain(chunks))))
    }
}

impl PrintDocumentsService {
    /// The document's bytes from `offset` on, read a few chunks ahead.
    fn chunks(
        &self,
        permitted: PermittedDocument,
        session: UploadSession,
        manifest: Vec<StoredPiece>,
        offset: u64,
    ) -> impl Stream<Item = Result<DownloadPrintDocumentResponse, Status>> + Send + use<> {
        let services = Arc::clone(&self.0);
        let folder = Folder { tenant: permitted.document().tenant, session: session.id };
        let context = Arc::new((services, permitted, session));
        stream::iter(manifest.into_iter().flat_map(move |stored| slices(&stored, offset)))
            .map(move |slice| {
                let context = Arc::clone(&context);
                async move {
                    let (services, permitted, session) = context.as_ref();
                    match services.blobs.read(folder, slice.object, slice.start..slice.end).await {
                        Ok(chunk) => Ok(DownloadPrintDocumentResponse { content: Some(Content::Chunk(chunk)) }),
                        Err(error) => Err(explain(error, services, permitted, session).await.into()),
                    }
                }
            })
            .buffered(READ_AHEAD)
    }
}

/// A missing object is a loss, unless its job was deleted while it was being sent.
async fn explain(
    error: blobs::Error,
    services: &Services,
    permitted: &PermittedDocument,
    session: &UploadSession,
) -> Error {
    if matches!(error, blobs::Error::Missing) {
        match services.store.manifest(permitted, session).await {
            Ok(manifest) if manifest.is_empty() => return Error::DocumentNotFound,
            Ok(_) => {}
            Err(error) => return error.into(),
        }
    }
    error.into()
}

/// Cuts a piece into chunks, from the document's offset on.
fn slices(stored: &StoredPiece, offset: u64) -> impl Iterator<Item = Slice> + use<> {
    let skipped = offset.saturating_sub(stored.piece.range.start()).min(stored.piece.range.len());
    let (start, end) = (stored.offset + skipped, stored.offset + stored.piece.range.len());
    let object = stored.object;
    (start..end).step_by(MAX_CHUNK_BYTES).map(move |start| Slice {
        object,
        start,
        end: end.min(start + MAX_CHUNK_BYTES as u64),
    })
}

fn name_of(permitted: &PermittedDocument) -> DocumentName {
    let document = permitted.document();
    DocumentName {
        queue: Queue::Printer(document.job.printer.clone()),
        job: document.job.job.clone(),
        document: document.id,
    }
}
