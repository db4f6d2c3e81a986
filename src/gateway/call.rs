//! What a handler needs to call the service: a client with the caller's credential, and the resource's name.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use print_upload_client::Client;

use super::{
    Gateway,
    credential::{access_token, upload_token},
    error::Error,
    path::GraphPath,
};

/// A request on a Graph path.
pub struct GraphCall {
    /// A client that sends the request's access token.
    pub client: Client,
    /// The resource that the path names.
    pub path: GraphPath,
}

/// A request on an upload URL.
pub struct UploadUrlCall {
    /// A client that sends the upload URL's capability.
    pub client: Client,
    /// `uploadSessions/{id}`.
    pub session: String,
}

impl FromRequestParts<Gateway> for GraphCall {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Error> {
        let path = GraphPath::from_request_parts(parts, gateway).await?;
        Ok(Self { client: gateway.client(access_token(&parts.headers)?), path })
    }
}

impl FromRequestParts<Gateway> for UploadUrlCall {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Error> {
        let id: Path<String> = Path::from_request_parts(parts, gateway).await.map_err(|_| Error::no_such_path())?;
        Ok(Self { client: gateway.client(upload_token(&parts.uri)?), session: format!("uploadSessions/{}", id.0) })
    }
}
