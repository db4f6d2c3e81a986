//! The id of a request, in the header `request-id` of every answer.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{IntoResponseParts, ResponseParts},
};
use tonic::metadata::MetadataMap;
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The id that the service gave a call: the same in its log, its audit trail and the answer.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id in an answer's metadata.
    pub fn of(metadata: &MetadataMap) -> Option<Self> {
        let id = metadata.get(REQUEST_ID.as_str())?;
        HeaderValue::from_bytes(id.as_bytes()).ok().map(Self)
    }

    /// Names the answer after the call.
    pub fn put_into(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID, self.0.clone());
    }

    /// The id that the answer has, or gets now: that of no call, when none was made.
    pub fn put_into_unless_there(headers: &mut HeaderMap) -> Self {
        let id = headers.get(REQUEST_ID).map_or_else(Self::new, |id| Self(id.clone()));
        id.put_into(headers);
        id
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// An id of the gateway's own.
    pub fn new() -> Self {
        // A GUID is made of header characters.
        Self(HeaderValue::from_str(&Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("")))
    }
}

impl IntoResponseParts for RequestId {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Self::Error> {
        self.put_into(response.headers_mut());
        Ok(response)
    }
}
