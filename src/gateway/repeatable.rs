//! Requests that can be repeated, as in "Repeatable Requests Version 1.0" of OData: a client that got no response sends
//! the same request again.
//!
//! Only the creation of a job needs this: every other call can be repeated without it. The service keeps an id as long
//! as the job, and not for a time that begins with `Repeatability-First-Sent`. So that header is not used, and a request
//! with the id alone can be repeated as well.

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
    middleware::Next,
    response::Response,
};

use super::error::Error;
use crate::proto::Reason;

const REQUEST_ID: HeaderName = HeaderName::from_static("repeatability-request-id");
const FIRST_SENT: HeaderName = HeaderName::from_static("repeatability-first-sent");

/// In the response to a request that can be repeated.
pub const RESULT: HeaderName = HeaderName::from_static("repeatability-result");

/// `Repeatability-Request-ID`. Empty if the request cannot be repeated. The service checks it.
pub struct RepeatabilityId(pub String);

impl<S: Sync> FromRequestParts<S> for RepeatabilityId {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        if !is_repeatable(&parts.headers) {
            return Ok(Self(String::new()));
        }
        // Without an id, the repeats of the request would create more jobs.
        let mut ids = parts.headers.get_all(REQUEST_ID).iter();
        let id =
            ids.next().filter(|_| ids.next().is_none()).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
        let message = "Repeatability-Request-ID: must have one value, also beside Repeatability-First-Sent";
        id.map(|id| Self(id.to_owned())).ok_or_else(|| Error::invalid(Reason::InvalidField, message))
    }
}

fn is_repeatable(headers: &HeaderMap) -> bool {
    headers.contains_key(REQUEST_ID) || headers.contains_key(FIRST_SENT)
}

/// The middleware that adds the result: `accepted` if the job was created, now or before, and `rejected` if the request
/// was refused. After a failure of the service the outcome is unknown, and there is none.
pub async fn report_result(request: Request, next: Next) -> Response {
    let is_repeatable = is_repeatable(request.headers());
    let mut response = next.run(request).await;
    let result = match response.status() {
        status if status.is_success() => "accepted",
        status if status.is_client_error() => "rejected",
        _ => return response,
    };
    if is_repeatable {
        response.headers_mut().insert(RESULT, HeaderValue::from_static(result));
    }
    response
}
