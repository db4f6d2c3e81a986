//! A client of the service: the generated stubs with a credential on every call.

use std::{convert::Infallible, time::Duration};

use anyhow::Context;
use axum::{Router, http};
use bytes::Bytes;
use futures_util::stream;
use tonic::{
    Request, Status,
    body::Body,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{ClientTlsConfig, Endpoint},
};
use tower::{ServiceExt, util::BoxCloneSyncService};

use crate::{
    guard::UPLOAD_TOKEN,
    listen::{KEEPALIVE, STREAM_WINDOW},
    proto::{
        RangeHeader, UploadRangeRequest, UploadRangeResponse, print_catalog_client::PrintCatalogClient,
        print_documents_client::PrintDocumentsClient, print_jobs_client::PrintJobsClient,
        upload_range_request::Content, upload_sessions_client::UploadSessionsClient,
    },
    range::MAX_CHUNK_BYTES,
    replicas,
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest window of a connection, in bytes (RFC 9113, 6.9.1). What is unread is bounded by the windows of its calls.
const MAX_WINDOW: u32 = (1 << 31) - 1;

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

/// The way to a service: a channel to it, or its own router in this process.
pub type Transport = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, tonic::transport::Error>;

/// A transport that shows a credential on every call.
pub type Authorized = InterceptedService<Transport, Credential>;

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
        let token = format!("Bearer {token}").parse().context("the access token holds odd characters")?;
        Ok(Self::AccessToken(secret(token)))
    }

    /// The token in an upload URL.
    pub fn of_upload_url(upload_url: &str) -> anyhow::Result<Self> {
        let (_, token) = upload_url.split_once("tempauthtoken=").context("the upload URL has no tempauthtoken")?;
        Ok(Self::UploadToken(secret(token.parse().context("the upload token holds odd characters")?)))
    }
}

/// Metadata that no debug output shows.
pub fn secret(mut metadata: MetadataValue<Ascii>) -> MetadataValue<Ascii> {
    metadata.set_sensitive(true);
    metadata
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

/// A transport to the replicas of a service at `http://host:port` or `https://host:port`. A single one is connected to when
/// the first call is made; over several, calls are spread as long as they serve. Over https, `ca` is who signs the service's certificate, in PEM; without it the
/// system's authorities.
///
/// A call that stalls holds no more than its own window: its bytes never keep those of others back.
pub fn connect(endpoints: &[impl AsRef<str>], ca: Option<&[u8]>) -> anyhow::Result<Transport> {
    let endpoints = endpoints.iter().map(|address| endpoint(address.as_ref(), ca));
    let endpoints = endpoints.collect::<anyhow::Result<Vec<_>>>()?;
    let channel = match endpoints.as_slice() {
        [only] => only.connect_lazy(),
        _ => replicas::balance(endpoints),
    };
    Ok(BoxCloneSyncService::new(channel))
}

fn endpoint(address: &str, ca: Option<&[u8]>) -> anyhow::Result<Endpoint> {
    let mut endpoint = Endpoint::from_shared(address.to_owned()).with_context(|| format!("{address} is no address"))?;
    if endpoint.uri().scheme_str() == Some("https") {
        let tls = ClientTlsConfig::new();
        let tls = match ca {
            Some(ca) => tls.ca_certificate(tonic::transport::Certificate::from_pem(ca)),
            None => tls.with_native_roots(),
        };
        endpoint = endpoint.tls_config(tls)?;
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(MAX_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_while_idle(true))
}

/// A transport into a service's own router, without a socket.
pub fn in_process(router: Router) -> Transport {
    let answer = |response: http::Response<axum::body::Body>| response.map(Body::new);
    let service = ServiceExt::<http::Request<Body>>::map_response(router, answer);
    BoxCloneSyncService::new(ServiceExt::<http::Request<Body>>::map_err(service, |never: Infallible| match never {}))
}

impl Client {
    /// A client of the service at `http://host:port`; connects when the first call is made.
    pub fn new(endpoint: &str, credential: Credential) -> anyhow::Result<Self> {
        Ok(Self::over(connect(&[endpoint], None)?, credential))
    }

    /// Calls over a transport that may be shared.
    pub fn over(transport: Transport, credential: Credential) -> Self {
        let authorized = InterceptedService::new(transport, credential);
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
