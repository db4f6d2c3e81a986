//! What a request shows: an access token on the Graph paths, the capability in its query on an upload URL. Each door sees
//! only its own kind, and neither judges it.

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use tonic::{
    Code,
    metadata::{Ascii, MetadataValue},
};
use url::form_urlencoded;

use super::error::Error;
use crate::client::Credential;

/// The longest credential that is passed on, in bytes: an HTTP/2 server takes 16 KiB of headers unless told otherwise.
const MAX_CREDENTIAL_BYTES: usize = 12 * 1024;

/// The `Authorization` header of a Graph path.
pub struct AccessToken(pub Credential);

/// The `tempauthtoken` of an upload URL. An access token sent along by mistake is not even looked at: SDKs attach it to
/// every request of a host they know.
pub struct UploadToken(pub Credential);

impl<S: Sync> FromRequestParts<S> for AccessToken {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let header = parts.headers.get(header::AUTHORIZATION);
        let token = header.map(|value| metadata(value.as_bytes())).transpose()?;
        Ok(Self(token.map_or(Credential::None, Credential::AccessToken)))
    }
}

impl<S: Sync> FromRequestParts<S> for UploadToken {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let query = parts.uri.query().unwrap_or_default();
        let token = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "tempauthtoken");
        let token = token.map(|(_, token)| metadata(token.as_bytes())).transpose()?;
        Ok(Self(token.map_or(Credential::None, Credential::UploadToken)))
    }
}

/// The credential as the service is shown it. What cannot be shown holds for nothing.
fn metadata(credential: &[u8]) -> Result<MetadataValue<Ascii>, Error> {
    let shown = credential.try_into().ok().filter(|_| credential.len() <= MAX_CREDENTIAL_BYTES);
    shown.ok_or_else(|| Error::new(Code::Unauthenticated, "TOKEN_MALFORMED", "the credential is too long, or no text"))
}
