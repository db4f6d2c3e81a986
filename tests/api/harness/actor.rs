//! A caller over gRPC: a typed client with the verbs of the domain.

use std::{net::SocketAddr, ops::Range};

use bytes::Bytes;
use print_upload::proto::{
    CancelPrintJobRequest, CreatePrintJobRequest, CreateUploadSessionRequest, DeletePrintJobRequest,
    DeleteUploadSessionRequest, DocumentProperties, DownloadPrintDocumentRequest, GetPrintDocumentRequest,
    GetPrintJobRequest, GetUploadSessionRequest, ListPrintDocumentsRequest, ListPrintDocumentsResponse, PrintDocument,
    PrintJob, RangeHeader, RenewUploadUrlRequest, StartPrintJobRequest, UploadRangeRequest, UploadRangeResponse,
    UploadSession, download_print_document_response::Content,
};
use print_upload_client::{Client, Credential, range_messages};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Command, Digest, RestActor, TENANT, crc32c, header};

/// A range under way that lacks its last byte: the sender for the rest of the body, and the task that returns the
/// answer.
pub type Stalled = (mpsc::Sender<UploadRangeRequest>, JoinHandle<Result<UploadRangeResponse, Status>>);

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

    /// The same caller at a command line.
    pub fn command(&self, name: &str) -> Command {
        Command::new(name).env("GRPC_ADDR", &self.address.to_string()).env("PRINT_UPLOAD_TOKEN", self.access_token())
    }

    /// A caller whose credential is the session's upload URL.
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

    pub async fn renew(&mut self, name: &str) -> Result<UploadSession, Status> {
        let request = RenewUploadUrlRequest { name: name.into() };
        Ok(self.client.sessions.renew_upload_url(request).await?.into_inner())
    }

    /// Sends a range of the document. `document` is all of its bytes.
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

    /// Sends a range without its last byte, then stalls. Dropping the sender ends the body.
    pub fn stall(&self, session: &UploadSession, document: &Bytes, range: Range<usize>) -> Stalled {
        self.stall_with(header(session, range.clone()), &document.slice(range))
    }

    /// The same with any header and the bytes of its range.
    pub fn stall_with(&self, header: RangeHeader, bytes: &Bytes) -> Stalled {
        let first = range_messages(header, &bytes.slice(..bytes.len() - 1));
        let (sender, receiver) = mpsc::channel(first.len() + 4);
        for message in first {
            sender.try_send(message).expect("the channel has capacity");
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

    /// Deletes, and returns the id of the request.
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
        let request = ListPrintDocumentsRequest { parent: job.into(), ..Default::default() };
        Ok(self.list_documents(request).await?.print_documents)
    }

    pub async fn list_documents(
        &mut self,
        request: ListPrintDocumentsRequest,
    ) -> Result<ListPrintDocumentsResponse, Status> {
        Ok(self.client.documents.list_print_documents(request).await?.into_inner())
    }

    pub async fn create_job(&mut self, queue: &str) -> Result<PrintJob, Status> {
        self.create_configured_job(queue, "").await
    }

    pub async fn create_configured_job(&mut self, queue: &str, configuration: &str) -> Result<PrintJob, Status> {
        let request =
            CreatePrintJobRequest { parent: queue.into(), configuration: configuration.into(), ..Default::default() };
        self.create_requested_job(request).await
    }

    pub async fn create_requested_job(&mut self, request: CreatePrintJobRequest) -> Result<PrintJob, Status> {
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

/// The catalog's name of the job of a document, which is named by its printer.
pub fn job_of(document: &str) -> String {
    let (job, _) = document.split_once("/documents/").expect("a document's name");
    format!("tenants/{TENANT}/{job}")
}
