//! The id of a request.

use std::convert::Infallible;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{IntoResponseParts, ResponseParts},
};
use tonic::metadata::MetadataMap;
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The id of a request: in its log line, in the audit trail, and in the response's `request-id`. The service generates
/// one for every call. A REST request has the id of the call that it was translated to.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    pub fn generate() -> Self {
        // Never fails: a GUID contains only characters that a header may have.
        Self(HeaderValue::from_str(&Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("")))
    }

    /// The id in the metadata of a gRPC response.
    pub fn of(metadata: &MetadataMap) -> Option<Self> {
        let id = metadata.get(REQUEST_ID.as_str())?;
        HeaderValue::from_bytes(id.as_bytes()).ok().map(Self)
    }

    pub fn put_into(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID, self.0.clone());
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Becomes an extension of the response. A middleware writes it into the headers.
impl IntoResponseParts for RequestId {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        response.extensions_mut().insert(self);
        Ok(response)
    }
}
