//! What a request shows: an access token on the Graph paths, the capability in its query on an upload URL. Each door sees
//! only its own kind, and neither judges it.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use url::form_urlencoded;

use crate::client::Credential;

/// The `Authorization` header of a Graph path.
pub struct AccessToken(pub Credential);

/// The `tempauthtoken` of an upload URL. An access token sent along by mistake is not even looked at: SDKs attach it to
/// every request of a host they know.
pub struct UploadToken(pub Credential);

impl<S: Sync> FromRequestParts<S> for AccessToken {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let header = parts.headers.get(header::AUTHORIZATION);
        let token = header.and_then(|value| value.as_bytes().try_into().ok());
        Ok(Self(token.map_or(Credential::None, Credential::AccessToken)))
    }
}

impl<S: Sync> FromRequestParts<S> for UploadToken {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        let token = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "tempauthtoken");
        let token = token.and_then(|(_, token)| token.parse().ok());
        Ok(Self(token.map_or(Credential::None, Credential::UploadToken)))
    }
}
