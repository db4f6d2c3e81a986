//! What a request shows: an access token on the Graph paths, the capability in its query on an upload URL. Each door sees
//! only its own kind, and neither judges it.

use axum::http::{HeaderMap, Uri, header};
use print_upload_client::{Credential, secret};
use tonic::{
    Code,
    metadata::{Ascii, MetadataValue},
};
use url::form_urlencoded;

use super::error::Error;
use crate::proto::Reason;

/// The longest credential that is passed on, in bytes: an HTTP/2 server takes 16 KiB of headers unless told otherwise.
const MAX_CREDENTIAL_BYTES: usize = 12 * 1024;

/// The `Authorization` header of a Graph path.
pub fn access_token(headers: &HeaderMap) -> Result<Credential, Error> {
    match headers.get(header::AUTHORIZATION) {
        Some(token) => Ok(Credential::AccessToken(metadata(token.as_bytes())?)),
        None => Ok(Credential::None),
    }
}

/// The `tempauthtoken` of an upload URL. An access token sent along by mistake is not even looked at: SDKs attach it to
/// every request of a host they know.
pub fn upload_token(uri: &Uri) -> Result<Credential, Error> {
    let mut query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    match query.find(|(key, _)| key == "tempauthtoken") {
        Some((_, token)) => Ok(Credential::UploadToken(metadata(token.as_bytes())?)),
        None => Ok(Credential::None),
    }
}

/// The credential as the service is shown it. What cannot be shown holds for nothing.
fn metadata(credential: &[u8]) -> Result<MetadataValue<Ascii>, Error> {
    let shown = credential.try_into().ok().filter(|_| credential.len() <= MAX_CREDENTIAL_BYTES);
    shown.map(secret).ok_or_else(|| {
        Error::new(Code::Unauthenticated, Reason::TokenMalformed, "the credential is too long, or no text")
    })
}
