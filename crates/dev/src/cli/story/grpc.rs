//! The gRPC door: the generated client.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use print_upload_client::{
    Client, Credential, Transport, code_name,
    proto::{
        CreateUploadSessionRequest, DeleteUploadSessionRequest, DownloadPrintDocumentRequest, GetUploadSessionRequest,
        download_print_document_response::Content, upload_session::State,
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::door::{Answer, Door, Refusal, Session};
use crate::cli::sample_document::{bytes, header, properties};

/// A transport that every caller shares.
pub(super) struct Grpc {
    transport: Transport,
}

impl Grpc {
    pub(super) fn new(transport: &Transport) -> Self {
        Self { transport: transport.clone() }
    }

    fn client(&self, token: &str) -> anyhow::Result<Client> {
        let credential = if token.is_empty() { Credential::None } else { Credential::access_token(token)? };
        Ok(Client::over(self.transport.clone(), credential))
    }
}

impl Door for Grpc {
    const NAME: &'static str = "gRPC";
    const CONFLICT: &'static str = "ABORTED";
    const FORBIDDEN: &'static str = "PERMISSION_DENIED";
    const NOT_FOUND: &'static str = "NOT_FOUND";
    const UNAUTHENTICATED: &'static str = "UNAUTHENTICATED";
    const TOO_LATE: &'static str = "FAILED_PRECONDITION";

    async fn create(&self, token: &str, document: &str) -> Answer<Session> {
        let request = CreateUploadSessionRequest { parent: document.into(), properties: Some(properties()) };
        let created = self.client(token)?.sessions.create_upload_session(request).await;
        answered(created.map(|created| {
            let session = created.into_inner();
            Session { id: session.etag, handle: session.name }
        }))
    }

    async fn send(&self, token: &str, session: &Session, range: Range<usize>) -> Answer<bool> {
        let sent = self.client(token)?.upload_range(header(&session.handle, &range), bytes(range)).await;
        answered(sent.map(|sent| sent.state() == State::Completed))
    }

    async fn missing(&self, token: &str, document: &str) -> Answer<Vec<Range<usize>>> {
        let request = GetUploadSessionRequest { name: format!("{document}/uploadSession") };
        let session = self.client(token)?.sessions.get_upload_session(request).await;
        answered(session.map(|session| {
            let missing = session.into_inner().next_expected_ranges;
            missing.iter().map(|range| range.start as usize..range.end as usize).collect()
        }))
    }

    async fn delete(&self, token: &str, document: &str) -> Answer<()> {
        let request = DeleteUploadSessionRequest { name: format!("{document}/uploadSession"), ..Default::default() };
        let deleted = self.client(token)?.sessions.delete_upload_session(request).await;
        answered(deleted.map(|_| ()))
    }

    async fn download(&self, token: &str, document: &str) -> Answer<Bytes> {
        let request = DownloadPrintDocumentRequest { name: document.into(), offset: 0 };
        let mut documents = self.client(token)?.documents;
        answered(
            async {
                let mut answers = documents.download_print_document(request).await?.into_inner();
                let mut downloaded = BytesMut::new();
                while let Some(answer) = answers.message().await? {
                    if let Some(Content::Chunk(chunk)) = answer.content {
                        downloaded.extend_from_slice(&chunk);
                    }
                }
                Ok(downloaded.freeze())
            }
            .await,
        )
    }
}

/// Tells a refusal of the service from a door that does not work.
fn answered<T>(answer: Result<T, Status>) -> Answer<T> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        // Whatever the service refuses it gives a reason for; and while it is not there, nothing is refused.
        Err(status) if status.code() == Code::Unavailable || refusal(&status).reason.is_empty() => Err(status.into()),
        Err(status) => Ok(Err(refusal(&status))),
    }
}

/// What the service says in a status.
pub(super) fn refusal(status: &Status) -> Refusal {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    Refusal { code: code_name(status.code()).into(), reason }
}
