//! Calls over gRPC, to one replica.

use std::time::SystemTime;

use bytes::Bytes;
use print_upload_client::{
    Client, Credential, Reason, Transport,
    proto::{
        ByteRange, CancelPrintJobRequest, CreateUploadSessionRequest, DeletePrintJobRequest,
        DeleteUploadSessionRequest, DocumentProperties, DownloadPrintDocumentRequest, GetUploadSessionRequest,
        RangeHeader, UploadRangeResponse, UploadSession, download_print_document_response::Content as Part,
        upload_session,
    },
    range_messages,
};
use prost_types::Timestamp;
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tonic::Status;
use uuid::Uuid;

use super::{
    call::{Outcome, Progress, Seen, SentRange},
    content::{self, CELL_BYTES, DOCUMENT_BYTES},
    model::Micros,
    session::State,
};

/// One caller's calls to one replica.
#[derive(Debug, Clone)]
pub struct Grpc(Client);

impl Grpc {
    pub fn over(transport: Transport, credential: Credential) -> Self {
        Self(Client::over(transport, credential))
    }

    /// Creates a session. Also returns its upload URL.
    pub async fn create(&self, document: &str, properties: &DocumentProperties) -> (Outcome, Option<String>) {
        let request = CreateUploadSessionRequest { parent: document.into(), properties: Some(properties.clone()) };
        match self.0.sessions.clone().create_upload_session(request).await {
            Ok(session) => {
                let session = session.into_inner();
                (session_outcome(&session), Some(session.upload_url))
            }
            Err(status) => (failure(&status), None),
        }
    }

    pub async fn get(&self, name: &str) -> Outcome {
        let request = GetUploadSessionRequest { name: name.into() };
        let session = self.0.sessions.clone().get_upload_session(request).await;
        session.map_or_else(|status| failure(&status), |session| session_outcome(session.get_ref()))
    }

    pub async fn send(&self, range: SentRange) -> Outcome {
        let header = RangeHeader {
            name: format!("uploadSessions/{}", range.session),
            start: (range.cells.start * CELL_BYTES) as i64,
            end: (range.cells.end * CELL_BYTES) as i64,
            total: DOCUMENT_BYTES as i64,
            crc32c: range.has_digest.then(|| crc32c::crc32c(&range.bytes)),
            sha256: Bytes::new(),
        };
        let half = range.bytes.len() / 2;
        let mut messages = range_messages(header, &range.bytes.slice(..half));
        // The header is also the first message of the second half: only its chunks are sent.
        messages.extend(range_messages(RangeHeader::default(), &range.bytes.slice(half..)).into_iter().skip(1));
        let last = messages.len() - 1;
        let messages = tokio_stream::iter(messages.into_iter().enumerate()).then(move |(number, message)| async move {
            if number == last && !range.stall.is_zero() {
                sleep(range.stall).await;
            }
            message
        });
        let response = self.0.sessions.clone().upload_range(Box::pin(messages)).await;
        response.map_or_else(|status| failure(&status), |response| progress_outcome(response.get_ref()))
    }

    pub async fn delete(&self, name: &str) -> Outcome {
        let request = DeleteUploadSessionRequest { name: name.into(), ..Default::default() };
        done(self.0.sessions.clone().delete_upload_session(request).await)
    }

    pub async fn cancel_job(&self, name: &str) -> Outcome {
        done(self.0.jobs.clone().cancel_print_job(CancelPrintJobRequest { name: name.into() }).await)
    }

    /// `name` begins with the tenant, as in the catalog.
    pub async fn delete_job(&self, name: &str, revision: i64) -> Outcome {
        done(self.0.catalog.clone().delete_print_job(DeletePrintJobRequest { name: name.into(), revision }).await)
    }

    pub async fn download(&self, document: &str) -> Outcome {
        let bytes = self.bytes_of(document).await;
        bytes.map_or_else(|status| failure(&status), |bytes| Outcome::Content(content::contents_in(&bytes)))
    }

    async fn bytes_of(&self, document: &str) -> Result<Vec<u8>, Status> {
        let request = DownloadPrintDocumentRequest { name: document.into(), offset: 0 };
        let mut parts = self.0.documents.clone().download_print_document(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = parts.message().await? {
            if let Some(Part::Chunk(chunk)) = part.content {
                bytes.extend_from_slice(&chunk);
            }
        }
        Ok(bytes)
    }
}

fn done(answer: Result<tonic::Response<()>, Status>) -> Outcome {
    answer.map_or_else(|status| failure(&status), |_| Outcome::Done)
}

/// An error without a reason is the transport's: nobody knows whether the call took effect.
fn failure(status: &Status) -> Outcome {
    Reason::of(status).map_or(Outcome::Unknown, Outcome::refused)
}

fn session_outcome(session: &UploadSession) -> Outcome {
    let id = Uuid::try_parse(&session.etag).ok();
    let state = match session.state() {
        upload_session::State::Active => State::Active,
        upload_session::State::Completed => return Outcome::Session(Seen::ended(id, State::Completed)),
        upload_session::State::Canceled => return Outcome::Session(Seen::ended(id, State::Canceled)),
        upload_session::State::Expired => return Outcome::Session(Seen::ended(id, State::Expired)),
        upload_session::State::Unspecified => return Outcome::Refused(Reason::Unspecified),
    };
    let progress = progress(false, session.expire_time.as_ref(), &session.next_expected_ranges);
    progress.map_or(Outcome::Refused(Reason::Unspecified), |progress| Outcome::Session(Seen { id, state, progress }))
}

fn progress_outcome(response: &UploadRangeResponse) -> Outcome {
    let is_completed = response.state() == upload_session::State::Completed;
    let progress = progress(is_completed, response.expire_time.as_ref(), &response.next_expected_ranges);
    progress.map_or(Outcome::Refused(Reason::Unspecified), Outcome::Progress)
}

/// `None` when the answer is no sensible one.
fn progress(is_completed: bool, expiry: Option<&Timestamp>, missing: &[ByteRange]) -> Option<Progress> {
    let missing = missing.iter().map(|range| range.start as usize..range.end as usize);
    Some(Progress { is_completed, missing: content::missing_cells(missing)?, expiry: micros(expiry?) })
}

fn micros(time: &Timestamp) -> Micros {
    time.seconds * 1_000_000 + Micros::from(time.nanos / 1000)
}

/// The time now.
pub fn now() -> Micros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or_default()
}
