//! A client of the service: the generated stubs with a credential on every call.

use anyhow::Context;
use bytes::Bytes;
use futures_util::stream;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{
    guard::UPLOAD_TOKEN,
    proto::{
        RangeHeader, UploadRangeRequest, UploadRangeResponse, print_catalog_client::PrintCatalogClient,
        print_documents_client::PrintDocumentsClient, print_jobs_client::PrintJobsClient,
        upload_range_request::Content, upload_sessions_client::UploadSessionsClient,
    },
    range::MAX_CHUNK_BYTES,
};

/// What a caller shows.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Nothing.
    None,
    /// An access token, in `authorization`.
    AccessToken(MetadataValue<Ascii>),
    /// The `tempauthtoken` of an upload URL, in `upload-token`.
    UploadToken(MetadataValue<Ascii>),
}

/// A channel that shows its credential on every call.
pub type Authorized = InterceptedService<Channel, Credential>;

/// One caller's view of the service.
#[derive(Debug, Clone)]
pub struct Client {
    /// Create, look, send, delete.
    pub sessions: UploadSessionsClient<Authorized>,
    /// What has been uploaded.
    pub documents: PrintDocumentsClient<Authorized>,
    /// Create a job, look, start it, cancel it.
    pub jobs: PrintJobsClient<Authorized>,
    /// What other services own.
    pub catalog: PrintCatalogClient<Authorized>,
}

impl Credential {
    /// An access token.
    pub fn access_token(token: &str) -> anyhow::Result<Self> {
        Ok(Self::AccessToken(format!("Bearer {token}").parse().context("the access token holds odd characters")?))
    }

    /// The token in an upload URL.
    pub fn of_upload_url(upload_url: &str) -> anyhow::Result<Self> {
        let (_, token) = upload_url.split_once("tempauthtoken=").context("the upload URL has no tempauthtoken")?;
        Ok(Self::UploadToken(token.parse().context("the upload token holds odd characters")?))
    }
}

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        match self {
            Self::None => None,
            Self::AccessToken(token) => request.metadata_mut().insert("authorization", token.clone()),
            Self::UploadToken(token) => request.metadata_mut().insert(UPLOAD_TOKEN, token.clone()),
        };
        Ok(request)
    }
}

impl Client {
    /// Connects to `http://host:port` when the first call is made.
    pub fn new(endpoint: &str, credential: Credential) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(endpoint.to_owned()).context("not an address")?.connect_lazy();
        Ok(Self::over(channel, credential))
    }

    /// Calls over a channel that may be shared.
    pub fn over(channel: Channel, credential: Credential) -> Self {
        let authorized = InterceptedService::new(channel, credential);
        Self {
            sessions: UploadSessionsClient::new(authorized.clone()),
            documents: PrintDocumentsClient::new(authorized.clone()),
            jobs: PrintJobsClient::new(authorized.clone()),
            catalog: PrintCatalogClient::new(authorized),
        }
    }

    /// Sends one range: its header, then its bytes in chunks.
    pub async fn upload_range(&mut self, header: RangeHeader, bytes: Bytes) -> Result<UploadRangeResponse, Status> {
        let messages = range_messages(header, &bytes);
        Ok(self.sessions.upload_range(stream::iter(messages)).await?.into_inner())
    }
}

/// The messages of one range: its header, then its bytes in chunks of at most [`MAX_CHUNK_BYTES`].
pub fn range_messages(header: RangeHeader, bytes: &Bytes) -> Vec<UploadRangeRequest> {
    let chunks = (0..bytes.len()).step_by(MAX_CHUNK_BYTES).map(|start| {
        let end = bytes.len().min(start + MAX_CHUNK_BYTES);
        Content::Chunk(bytes.slice(start..end))
    });
    let contents = std::iter::once(Content::Header(header)).chain(chunks);
    contents.map(|content| UploadRangeRequest { content: Some(content) }).collect()
}
