//! The ids of every answer, and the body of every error.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use tonic::Status;

use super::error::Error;
use crate::telemetry::RequestId;

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");

/// The longest `client-request-id` that is returned, in bytes. Graph's clients send a GUID.
const MAX_CLIENT_REQUEST_ID_BYTES: usize = 128;

/// The service's message, and the id that it gave to the call.
pub fn answered<T>(answer: Result<tonic::Response<T>, Status>) -> Result<(T, RequestId), Error> {
    let (metadata, message, _) = answer?.into_parts();
    Ok((message, RequestId::of(&metadata).unwrap_or_else(RequestId::generate)))
}

/// The middleware that writes the ids of every answer, and the body of every error. The request's id and the error come
/// as extensions of the response: the body of an error needs both ids, and the error does not know them. The id and the
/// error's reason stay there for the log line.
pub async fn finish(request: Request, next: Next) -> Response {
    let client_request_id = request.headers().get(CLIENT_REQUEST_ID).filter(|id| is_plausible(id)).cloned();

    let mut response = next.run(request).await;
    // An answer that no call was made for has an id of the gateway's own.
    let request_id = response.extensions_mut().remove().unwrap_or_else(RequestId::generate);
    request_id.put_into(response.headers_mut());
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
