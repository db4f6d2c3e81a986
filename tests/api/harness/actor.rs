//! Who calls: a typed client with the verbs of the domain.

use std::{net::SocketAddr, ops::Range, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use print_upload::proto::{
    self, CancelPrintJobRequest, CreatePrintJobRequest, CreateUploadSessionRequest, DeletePrintJobRequest,
    DeleteUploadSessionRequest, DocumentProperties, DownloadPrintDocumentRequest, GetPrintDocumentRequest,
    GetPrintJobRequest, GetUploadSessionRequest, ListPrintDocumentsRequest, PrintDocument, PrintJob, RangeHeader,
    StartPrintJobRequest, UploadRangeRequest, UploadRangeResponse, UploadSession,
    download_print_document_response::Content, upload_range_request,
};
use print_upload_client::{Client, Credential, range_messages};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A range under way that waits for its last byte: where to send the rest, and the answer.
pub type Stalled = (mpsc::Sender<UploadRangeRequest>, JoinHandle<Result<UploadRangeResponse, Status>>);

/// Which digests a range is sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    None,
    Crc32c,
    Sha256,
    Both,
}

use super::{Command, RestActor, TENANT};

/// A caller with a credential.
#[derive(Debug, Clone)]
pub struct Actor {
    pub client: Client,
    address: SocketAddr,
    token: Option<String>,
}

impl Actor {
    pub fn with_access_token(address: SocketAddr, token: &str) -> Self {
        let actor = Self::with(address, Credential::access_token(token).expect("a token"));
        Self { token: Some(token.into()), ..actor }
    }

    pub fn with(address: SocketAddr, credential: Credential) -> Self {
        let client = Client::new(&format!("http://{address}"), credential).expect("a client");
        Self { client, address, token: None }
    }

    /// The caller's access token.
    pub fn access_token(&self) -> &str {
        self.token.as_deref().expect("a caller with an access token")
    }

    /// The same caller over REST.
    pub fn rest(&self, gateway: SocketAddr) -> RestActor {
        RestActor::new(gateway, self.token.as_deref())
    }

    /// The access token that it shows.
    pub fn token(&self) -> &str {
        self.token.as_deref().expect("an access token")
    }

    /// The same caller at a command line.
    pub fn command(&self, name: &str) -> Command {
        Command::new(name).env("GRPC_ADDR", &self.address.to_string()).env("PRINT_UPLOAD_TOKEN", self.token())
    }

    /// Whoever holds a session's upload URL.
    pub fn holder_of(&self, session: &UploadSession) -> Self {
        Self::with(self.address, Credential::of_upload_url(&session.upload_url).expect("an upload URL"))
    }

    pub async fn create(&mut self, document: &str, size_bytes: usize) -> Result<UploadSession, Status> {
        self.create_named(document, "poster.pdf", size_bytes).await
    }

    pub async fn create_named(
        &mut self,
        document: &str,
        name: &str,
        size_bytes: usize,
    ) -> Result<UploadSession, Status> {
        let properties = DocumentProperties {
            document_name: name.into(),
            content_type: "application/pdf".into(),
            size_bytes: size_bytes as i64,
        };
        let request = CreateUploadSessionRequest { parent: document.into(), properties: Some(properties) };
        Ok(self.client.sessions.create_upload_session(request).await?.into_inner())
    }

    pub async fn get(&mut self, name: &str) -> Result<UploadSession, Status> {
        let request = GetUploadSessionRequest { name: name.into() };
        Ok(self.client.sessions.get_upload_session(request).await?.into_inner())
    }

    /// Sends `range` of `document`, which is all of the document's bytes.
    pub async fn send(
        &mut self,
        session: &UploadSession,
        document: &Bytes,
        range: Range<usize>,
    ) -> Result<UploadRangeResponse, Status> {
        let header = header(session, range.clone());
        self.client.upload_range(header, document.slice(range)).await
    }

    /// The same, with the CRC32C of the bytes.
    pub async fn send_with_crc32c(
        &mut self,
        session: &UploadSession,
        document: &Bytes,
        range: Range<usize>,
    ) -> Result<UploadRangeResponse, Status> {
        let bytes = document.slice(range.clone());
        let header = RangeHeader { crc32c: Some(crc32c(&bytes)), ..header(session, range) };
        self.client.upload_range(header, bytes).await
    }

    /// Sends any bytes as the range that begins at `start`.
    pub async fn send_bytes(
        &mut self,
        session: &UploadSession,
        start: usize,
        bytes: Bytes,
        digest: Digest,
    ) -> Result<UploadRangeResponse, Status> {
        let header = digest.put_on(header(session, start..start + bytes.len()), &bytes);
        self.client.upload_range(header, bytes).await
    }

    /// Sends any messages.
    pub async fn send_messages(&mut self, messages: Vec<UploadRangeRequest>) -> Result<UploadRangeResponse, Status> {
        Ok(self.client.sessions.upload_range(tokio_stream::iter(messages)).await?.into_inner())
    }

    /// Begins to send a range and stalls before its last byte. The answer comes from the task, once the sender gives the
    /// rest or the service gives up; dropping the sender ends the body.
    pub fn stall(&self, session: &UploadSession, document: &Bytes, range: Range<usize>) -> Stalled {
        self.stall_with(header(session, range.clone()), &document.slice(range))
    }

    /// The same with any header, and the bytes of its range.
    pub fn stall_with(&self, header: RangeHeader, bytes: &Bytes) -> Stalled {
        let first = range_messages(header, &bytes.slice(..bytes.len() - 1));
        let (sender, receiver) = mpsc::channel(first.len() + 4);
        for message in first {
            sender.try_send(message).expect("room for the message");
        }
        let mut sessions = self.client.sessions.clone();
        let answer =
            tokio::spawn(async move { Ok(sessions.upload_range(ReceiverStream::new(receiver)).await?.into_inner()) });
        (sender, answer)
    }

    pub async fn delete(&mut self, name: &str) -> Result<(), Status> {
        self.delete_with(DeleteUploadSessionRequest { name: name.into(), ..Default::default() }).await
    }

    pub async fn delete_with(&mut self, request: DeleteUploadSessionRequest) -> Result<(), Status> {
        self.client.sessions.delete_upload_session(request).await.map(|_| ())
    }

    /// Deletes, and tells the id that the request got.
    pub async fn delete_traced(&mut self, name: &str) -> Result<String, Status> {
        let request = DeleteUploadSessionRequest { name: name.into(), ..Default::default() };
        let answer = self.client.sessions.delete_upload_session(request).await?;
        let id = answer.metadata().get("request-id").expect("a request id");
        Ok(id.to_str().expect("text").to_owned())
    }

    /// Uploads a whole document in one session of one range.
    pub async fn upload(&mut self, document: &str, bytes: &Bytes) -> Result<UploadSession, Status> {
        let session = self.create(document, bytes.len()).await?;
        self.send(&session, bytes, 0..bytes.len()).await?;
        Ok(session)
    }

    /// Deletes the job of a document, which is named by its printer.
    pub async fn delete_job(&mut self, document: &str, revision: i64) -> Result<(), Status> {
        let request = DeletePrintJobRequest { name: job_of(document), revision };
        self.client.catalog.delete_print_job(request).await.map(|_| ())
    }

    pub async fn document(&mut self, name: &str) -> Result<PrintDocument, Status> {
        let request = GetPrintDocumentRequest { name: name.into() };
        Ok(self.client.documents.get_print_document(request).await?.into_inner())
    }

    pub async fn documents_of(&mut self, job: &str) -> Result<Vec<PrintDocument>, Status> {
        let request = ListPrintDocumentsRequest { parent: job.into() };
        Ok(self.client.documents.list_print_documents(request).await?.into_inner().print_documents)
    }

    pub async fn create_job(&mut self, queue: &str) -> Result<PrintJob, Status> {
        self.create_configured_job(queue, "").await
    }

    pub async fn create_configured_job(&mut self, queue: &str, configuration: &str) -> Result<PrintJob, Status> {
        let request = CreatePrintJobRequest { parent: queue.into(), configuration: configuration.into() };
        Ok(self.client.jobs.create_print_job(request).await?.into_inner())
    }

    pub async fn job(&mut self, name: &str) -> Result<PrintJob, Status> {
        Ok(self.client.jobs.get_print_job(GetPrintJobRequest { name: name.into() }).await?.into_inner())
    }

    pub async fn start_job(&mut self, name: &str) -> Result<PrintJob, Status> {
        Ok(self.client.jobs.start_print_job(StartPrintJobRequest { name: name.into() }).await?.into_inner())
    }

    pub async fn cancel_job(&mut self, name: &str) -> Result<(), Status> {
        self.client.jobs.cancel_print_job(CancelPrintJobRequest { name: name.into() }).await.map(drop)
    }

    /// The document and its bytes from `offset` on.
    pub async fn download(&mut self, name: &str, offset: i64) -> Result<(PrintDocument, Vec<u8>), Status> {
        let request = DownloadPrintDocumentRequest { name: name.into(), offset };
        let mut stream = self.client.documents.download_print_document(request).await?.into_inner();
        let (mut document, mut bytes) = (None, Vec::new());
        while let Some(message) = stream.message().await? {
            match message.content.expect("a message with content") {
                Content::Document(first) => assert!(document.replace(first).is_none(), "one document"),
                Content::Chunk(chunk) => bytes.extend_from_slice(&chunk),
            }
        }
        Ok((document.expect("a document"), bytes))
    }
}

impl Digest {
    /// The header with the digests of `bytes`.
    pub fn put_on(self, header: RangeHeader, bytes: &[u8]) -> RangeHeader {
        let crc32c = matches!(self, Self::Crc32c | Self::Both).then(|| crc32c(bytes));
        let sha256 = if matches!(self, Self::Sha256 | Self::Both) { sha256(bytes) } else { Bytes::new() };
        RangeHeader { crc32c, sha256, ..header }
    }
}

/// The catalog's name of the job of a document, which is named by its printer.
pub fn job_of(document: &str) -> String {
    let (job, _) = document.split_once("/documents/").expect("a document's name");
    format!("tenants/{TENANT}/{job}")
}

/// What a test asks of an error.
pub trait ErrorExt {
    /// The one `ErrorInfo`'s reason.
    fn reason(&self) -> String;
    /// Code and reason, as the table in the documentation has them.
    fn code_and_reason(&self) -> (Code, String);
    /// A value of the `ErrorInfo`'s metadata.
    fn metadata_of(&self, key: &str) -> Option<String>;
    /// The request's fields that were bad; the reason is `INVALID_FIELD`.
    fn bad_fields(&self) -> Vec<String>;
    /// The request's field that was too large, and how large it may be; the reason is `{what}_TOO_LARGE`.
    fn too_large(&self, what: &str) -> (String, u64);
    /// How long the caller is told to wait before trying again; nothing when that would not help.
    fn retry_delay(&self) -> Option<Duration>;
}

impl ErrorExt for Status {
    fn reason(&self) -> String {
        let details = self.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {self:?}"));
        assert_eq!(details.domain, "print-upload");
        details.reason
    }

    fn code_and_reason(&self) -> (Code, String) {
        (self.code(), self.reason())
    }

    fn metadata_of(&self, key: &str) -> Option<String> {
        self.get_details_error_info()?.metadata.get(key).cloned()
    }

    fn bad_fields(&self) -> Vec<String> {
        assert_eq!(self.code_and_reason(), (Code::InvalidArgument, "INVALID_FIELD".into()), "{self:?}");
        violations(self)
    }

    fn too_large(&self, what: &str) -> (String, u64) {
        assert_eq!(self.code_and_reason(), (Code::InvalidArgument, format!("{what}_TOO_LARGE")), "{self:?}");
        let limit = self.metadata_of("max_bytes").expect("the limit").parse().expect("a number");
        (violations(self).pop().expect("a field"), limit)
    }

    fn retry_delay(&self) -> Option<Duration> {
        self.get_details_retry_info().and_then(|info| info.retry_delay)
    }
}

fn violations(status: &Status) -> Vec<String> {
    let bad_request = status.get_details_bad_request().unwrap_or_else(|| panic!("no BadRequest: {status:?}"));
    assert!(bad_request.field_violations.iter().all(|violation| !violation.description.is_empty()));
    bad_request.field_violations.into_iter().map(|violation| violation.field).collect()
}

/// The header of a range, without digests.
pub fn header(session: &UploadSession, range: Range<usize>) -> RangeHeader {
    RangeHeader {
        name: session.name.clone(),
        start: range.start as i64,
        end: range.end as i64,
        total: session.properties.as_ref().map_or(0, |properties| properties.size_bytes),
        ..Default::default()
    }
}

/// A message with a range's next bytes.
pub fn chunk(bytes: impl Into<Bytes>) -> UploadRangeRequest {
    UploadRangeRequest { content: Some(upload_range_request::Content::Chunk(bytes.into())) }
}

/// Bytes that differ wherever they are cut.
pub fn sample_bytes(length: usize) -> Bytes {
    (0..length).map(|position| (position % 251) as u8 ^ (position / 251) as u8).collect()
}

pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

pub fn sha256(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(digest(&SHA256, bytes).as_ref())
}

/// A range, for comparing with what is missing.
pub fn span(range: &proto::ByteRange) -> Range<i64> {
    range.start..range.end
}

/// Ranges, for comparing with what is missing.
pub fn spans(ranges: &[proto::ByteRange]) -> Vec<Range<usize>> {
    ranges.iter().map(|range| range.start as usize..range.end as usize).collect()
}
