//! The headers that every response has, and the body of every error response.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use tonic::Status;

use super::{error::Error, status};
use crate::telemetry::RequestId;

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");

/// The longest `client-request-id` that is returned, in bytes. Graph's clients send a GUID.
const MAX_CLIENT_REQUEST_ID_BYTES: usize = 128;

/// Among the extensions of a response whose caller has proved nothing: the service has refused the credential, or could not
/// check it, or was not asked.
#[derive(Debug, Clone, Copy)]
pub struct Unproved;

/// Splits the service's response into its message and the id that the service gave to the call.
pub fn message_and_id<T>(answer: Result<tonic::Response<T>, Status>) -> Result<(T, RequestId), Error> {
    let (metadata, message, _) = answer?.into_parts();
    Ok((message, RequestId::of(&metadata).unwrap_or_else(RequestId::generate)))
}

/// The middleware that writes the ids into every response, and the body into every error response. The handler passes
/// the request's id and the error as extensions of the response. The error's body is written here, because it contains
/// both ids and a handler does not know them. The id and the error's reason stay in the extensions for the log line.
///
/// No cache may store a response. Some hold an upload URL. And a request to an upload URL has no `Authorization`, which
/// keeps shared caches from storing the response to any other.
pub async fn finish(request: Request, next: Next) -> Response {
    let client_request_id = request.headers().get(CLIENT_REQUEST_ID).filter(|id| is_plausible(id)).cloned();

    let mut response = next.run(request).await;
    let answered: Option<RequestId> = response.extensions_mut().remove();
    let is_unproved = response.extensions().get().is_some_and(Error::leaves_caller_unproved);
    if answered.is_none() || is_unproved || status::refuses_the_caller(&response) {
        response.extensions_mut().insert(Unproved);
    }
    // If no call was made, the gateway generates the id.
    let request_id = answered.unwrap_or_else(RequestId::generate);
    request_id.put_into(response.headers_mut());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(id) = &client_request_id {
        response.headers_mut().insert(CLIENT_REQUEST_ID, id.clone());
    }
    let id = request_id.as_str();
    if let Some(error) = response.extensions_mut().remove::<Error>() {
        let client_request_id = client_request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or(id);
        let body = error.odata(id, client_request_id).to_string();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(body);
        response.extensions_mut().insert(error.into_reason());
    }
    response.extensions_mut().insert(request_id);
    response
}

fn is_plausible(id: &HeaderValue) -> bool {
    (1..=MAX_CLIENT_REQUEST_ID_BYTES).contains(&id.len()) && id.to_str().is_ok()
}
