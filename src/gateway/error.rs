//! Why a request is refused: the service's own error, or the gateway's, in the same terms. It becomes an OData error once
//! the answer's ids are known ([`super::answer`]).

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    answer::RequestId,
    json::{end_reason, instant, odata_date},
    status::{self, Row},
};
use crate::proto::{UploadSession, upload_session::State};

/// How long to wait for a service that does not answer.
const UNREACHABLE_RETRY: Duration = Duration::from_secs(1);

/// Why a request is refused.
#[derive(Debug, Clone)]
pub struct Error {
    row: Row,
    reason: String,
    message: String,
    retry_after: Option<Duration>,
    /// Members of `innerError` beside those that every error has.
    details: Map<String, Value>,
    headers: HeaderMap,
    /// The service's id of the call that it refused.
    request_id: Option<RequestId>,
}

impl Error {
    /// One of the gateway's own: the request is not one that can be translated.
    pub fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self {
            row: status::of_error(code, reason),
            reason: reason.to_owned(),
            message: message.into(),
            retry_after: None,
            details: Map::new(),
            headers: HeaderMap::new(),
            request_id: None,
        }
    }

    /// A request that cannot be translated, for want of form.
    pub fn invalid(reason: &str, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, reason, message)
    }

    /// No such path.
    pub fn no_such_path() -> Self {
        Self::new(Code::Unimplemented, "PATH_UNKNOWN", "the service has no such path")
    }

    /// The path is there, the method is not. What is, axum says in `Allow`.
    pub fn method_not_allowed() -> Self {
        Self::new(Code::Unimplemented, "METHOD_NOT_ALLOWED", "the path does not have this method")
    }

    /// An upload session that has ended is not there any more for those who look: why and when it ended.
    pub fn ended(session: &UploadSession, request_id: RequestId) -> Self {
        let (reason, message) = match session.state() {
            State::Completed => ("UPLOAD_SESSION_COMPLETED", "the upload session is completed"),
            State::Expired => ("UPLOAD_SESSION_EXPIRED", "the upload session has expired"),
            _ => ("UPLOAD_SESSION_CANCELED", "the upload session was canceled"),
        };
        let mut error = Self::new(Code::NotFound, reason, message);
        error.details.insert("endReason".into(), end_reason(session.end_reason()).into());
        if let Some(end_time) = &session.end_time {
            error.details.insert("endedDateTime".into(), instant(end_time).into());
        }
        error.request_id = Some(request_id);
        error
    }

    /// The bytes that were asked for do not exist.
    pub fn out_of_range(size_bytes: u64) -> Self {
        let mut error = Self::new(Code::OutOfRange, "OFFSET_OUT_OF_RANGE", "the document does not have these bytes");
        if let Ok(range) = HeaderValue::from_str(&format!("bytes */{size_bytes}")) {
            error.headers.insert(header::CONTENT_RANGE, range);
        }
        error
    }

    /// The body of the answer, as OData has it.
    pub fn odata(&self, request_id: &str, client_request_id: &str) -> Value {
        let now = OffsetDateTime::now_utc();
        let mut inner_error = self.details.clone();
        if let Some(code) = self.row.inner_code {
            inner_error.insert("code".into(), code.into());
        }
        inner_error.insert("reason".into(), self.reason.as_str().into());
        inner_error.insert("date".into(), odata_date(now).into());
        inner_error.insert("request-id".into(), request_id.into());
        inner_error.insert("client-request-id".into(), client_request_id.into());
        json!({"error": {"code": self.row.code, "message": self.message, "innerError": inner_error}})
    }
}

/// What the service says.
impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let Some(info) = status.get_details_error_info() else { return unreachable_service(&status) };
        let mut error = Self::new(status.code(), &info.reason, status.message());
        error.retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        error.request_id = RequestId::of(status.metadata());
        if let Some(violations) = status.get_details_bad_request() {
            let fields = violations.field_violations.into_iter().map(|violation| violation.field);
            error.details.insert("fields".into(), fields.collect());
        }
        for (key, value) in info.metadata {
            error.details.insert(key, value.into());
        }
        error
    }
}

/// Every error of the service has its reason. One that has none comes from the way to it: a connection that is refused,
/// cut or lost.
fn unreachable_service(status: &Status) -> Error {
    tracing::warn!(grpc.code = ?status.code(), error = status.message(), "the service cannot be reached");
    let message = "the service cannot be reached at the moment";
    let mut error = Error::new(Code::Unavailable, "SERVICE_UNREACHABLE", message);
    error.retry_after = Some(UNREACHABLE_RETRY);
    error
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = (self.row.status, self.headers.clone()).into_response();
        let headers = response.headers_mut();
        if let Some(delay) = self.retry_after {
            headers.insert(header::RETRY_AFTER, delay.as_secs().into());
        }
        if self.row.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, challenge(&self.reason));
        }
        if let Some(id) = &self.request_id {
            id.put_into(headers);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// RFC 6750, section 3: without a token nothing but the scheme, with a bad one why it is.
fn challenge(reason: &str) -> HeaderValue {
    if reason == "TOKEN_MISSING" {
        HeaderValue::from_static("Bearer realm=\"print-upload\"")
    } else {
        HeaderValue::from_static("Bearer realm=\"print-upload\", error=\"invalid_token\"")
    }
}
