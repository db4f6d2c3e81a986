//! The credential that a request presents: an access token on the Graph paths, the capability in the query on an upload
//! URL. Each kind of path reads only its own kind of credential. The gateway passes it on and does not check it.

use axum::http::{HeaderMap, Uri, header};
use print_upload_client::{Credential, MAX_CREDENTIAL_BYTES};
use tonic::{
    Code,
    metadata::{Ascii, MetadataValue},
};
use url::form_urlencoded;

use super::error::Error;
use crate::proto::Reason;

/// The `Authorization` header of a Graph path.
pub fn access_token(headers: &HeaderMap) -> Result<Credential, Error> {
    match headers.get(header::AUTHORIZATION) {
        Some(token) => Ok(Credential::AccessToken(metadata(token.as_bytes())?)),
        None => Ok(Credential::None),
    }
}

/// The `tempauthtoken` of an upload URL. An access token in the same request is ignored: SDKs attach one to every
/// request to a host that they know.
pub fn upload_token(uri: &Uri) -> Result<Credential, Error> {
    let mut query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    match query.find(|(key, _)| key == "tempauthtoken") {
        Some((_, token)) => Ok(Credential::UploadToken(metadata(token.as_bytes())?)),
        None => Ok(Credential::None),
    }
}

/// The credential as gRPC metadata. Fails if metadata cannot carry it. The limit is that of the service, which may be
/// elsewhere: a longer one would not reach it.
fn metadata(credential: &[u8]) -> Result<MetadataValue<Ascii>, Error> {
    if credential.len() > MAX_CREDENTIAL_BYTES {
        return Err(Error::credential_too_large(MAX_CREDENTIAL_BYTES));
    }
    let mut value: MetadataValue<Ascii> = credential
        .try_into()
        .map_err(|_| Error::new(Code::Unauthenticated, Reason::TokenMalformed, "the credential is not text"))?;
    // Keeps it out of debug output.
    value.set_sensitive(true);
    Ok(value)
}
