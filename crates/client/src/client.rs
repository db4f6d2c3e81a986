//! One caller's view of the service.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tonic::{Request, Status, service::interceptor::InterceptedService};

use crate::{
    Credential, Error, MAX_CHUNK_BYTES, Transport, chunks, connect,
    proto::{
        CreateUploadSessionRequest, DeleteUploadSessionRequest, DocumentProperties, GetPrintDocumentRequest,
        GetUploadSessionRequest, PrintDocument, RangeHeader, UploadRangeRequest, UploadRangeResponse, UploadSession,
        print_catalog_client::PrintCatalogClient, print_documents_client::PrintDocumentsClient,
        print_jobs_client::PrintJobsClient, upload_range_request::Content,
        upload_sessions_client::UploadSessionsClient,
    },
    retry,
};

/// How long a call may take, unless [`Client::with_timeout`] sets it.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a transfer keeps trying without progress, unless [`Client::with_patience`] sets it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A transport that presents a credential on every call.
type Authorized = InterceptedService<Transport, Credential>;

/// One caller's view of the service. A clone shares the connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// Create, get, send ranges, delete.
    pub sessions: UploadSessionsClient<Authorized>,
    /// Get and download documents.
    pub documents: PrintDocumentsClient<Authorized>,
    /// Create, get, start and cancel print jobs.
    pub jobs: PrintJobsClient<Authorized>,
    /// Maintain what other services own.
    pub catalog: PrintCatalogClient<Authorized>,
    pub(crate) transport: Transport,
    pub(crate) timeout: Duration,
    pub(crate) patience: Duration,
}

impl Client {
    /// A client of the service at `http://host:port`. It connects with the first call.
    pub fn new(endpoint: &str, credential: Credential) -> anyhow::Result<Self> {
        Ok(Self::over(connect(&[endpoint], None)?, credential))
    }

    /// Calls over a transport that may be shared.
    pub fn over(transport: Transport, credential: Credential) -> Self {
        let authorized = InterceptedService::new(transport.clone(), credential);
        Self {
            sessions: UploadSessionsClient::new(authorized.clone()),
            documents: PrintDocumentsClient::new(authorized.clone()),
            jobs: PrintJobsClient::new(authorized.clone()),
            catalog: PrintCatalogClient::new(authorized),
            transport,
            timeout: CALL_TIMEOUT,
            patience: PATIENCE,
        }
    }

    /// Makes a call about a session. If the caller's own credential lacks a permission or is no longer valid, makes it
    /// again with the session's upload URL. A token with `PrintJob.Create` alone may create a session, but neither get
    /// nor cancel it: the upload URL allows both. And a token may expire before the session does.
    pub async fn with_upload_url_fallback<T, F>(
        &self,
        session: &UploadSession,
        call: impl Fn(Self) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        match call(self.clone()).await {
            Err(error) if error.is_permission_missing() || error.is_credential_invalid() => {
                call(self.with_upload_url_of(session).ok_or(error)?).await
            }
            returned => returned,
        }
    }

    /// A client that presents a session's upload URL instead of the caller's own credential. `None` once the session
    /// has ended: then it has no upload URL.
    pub(crate) fn with_upload_url_of(&self, session: &UploadSession) -> Option<Self> {
        let credential = Credential::of_upload_url(&session.upload_url).ok()?;
        let client = Self::over(self.transport.clone(), credential);
        Some(client.with_timeout(self.timeout).with_patience(self.patience))
    }

    /// How long a call may take, together with its retries; 30 s by default. A range may take longer, as long as its
    /// bytes move.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How long an upload or a download keeps trying while nothing succeeds; 60 s by default.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Creates the upload session of a document. If the caller has one with the same properties already, returns that
    /// one: its `next_expected_ranges` are still missing.
    pub async fn create(&self, document: &str, properties: &DocumentProperties) -> Result<UploadSession, Error> {
        let request = CreateUploadSessionRequest { parent: document.into(), properties: Some(properties.clone()) };
        let create = || {
            let (mut sessions, request) = (self.sessions.clone(), self.timed(request.clone()));
            async move { sessions.create_upload_session(request).await }
        };
        Ok(retry::call(self.timeout, create).await?)
    }

    /// A session as it is now, by one of its two names.
    pub async fn session(&self, name: &str) -> Result<UploadSession, Error> {
        let request = GetUploadSessionRequest { name: name.into() };
        let get = || {
            let (mut sessions, request) = (self.sessions.clone(), self.timed(request.clone()));
            async move { sessions.get_upload_session(request).await }
        };
        Ok(retry::call(self.timeout, get).await?)
    }

    /// Cancels the upload: it cannot be resumed. The call may be repeated, so it is retried when its outcome is
    /// unknown. By a document's name and without an etag, a retry may cancel a newer session that the caller has
    /// created in the meantime: use `uploadSessions/{id}` where that may happen.
    pub async fn cancel(&self, request: DeleteUploadSessionRequest) -> Result<(), Error> {
        let delete = || {
            let (mut sessions, request) = (self.sessions.clone(), self.timed(request.clone()));
            async move { sessions.delete_upload_session(request).await }
        };
        Ok(retry::call(self.timeout, delete).await?)
    }

    /// A document, and whether it is uploaded.
    pub async fn document(&self, name: &str) -> Result<PrintDocument, Error> {
        let request = GetPrintDocumentRequest { name: name.into() };
        let get = || {
            let (mut documents, request) = (self.documents.clone(), self.timed(request.clone()));
            async move { documents.get_print_document(request).await }
        };
        Ok(retry::call(self.timeout, get).await?)
    }

    /// Sends one range once: its header, then its bytes in chunks. There is no deadline: set one around it, for example
    /// with `tokio::time::timeout`.
    pub async fn upload_range(&mut self, header: RangeHeader, bytes: Bytes) -> Result<UploadRangeResponse, Status> {
        let messages = range_messages(header, &bytes);
        Ok(self.sessions.upload_range(stream::iter(messages)).await?.into_inner())
    }

    /// A request with the deadline of this client's calls.
    fn timed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }
}

/// The messages of one range: its header, then its bytes in chunks of at most [`MAX_CHUNK_BYTES`].
pub fn range_messages(header: RangeHeader, bytes: &Bytes) -> Vec<UploadRangeRequest> {
    let chunks = chunks(bytes.clone(), MAX_CHUNK_BYTES).map(Content::Chunk);
    let contents = std::iter::once(Content::Header(header)).chain(chunks);
    contents.map(|content| UploadRangeRequest { content: Some(content) }).collect()
}
