//! Why a request is refused: an error of the service or of the gateway, both with the same codes and reasons. The error
//! is written as OData JSON in [`super::answer`], where the response's ids are known.

use std::time::Duration;

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use print_upload_client::ended_session_message;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    json::{end_reason, instant, odata_date},
    status::{self, Row},
};
use crate::{
    proto::{Reason, UploadSession},
    telemetry::RequestId,
};

/// When a client may retry if the service cannot be reached (`Retry-After`).
const UNREACHABLE_RETRY: Duration = Duration::from_secs(1);

/// Why a request is refused. Boxed, so that the `Result` of every handler stays small.
#[derive(Debug, Clone)]
pub struct Error(Box<Refusal>);

/// The name of the reason why a request is refused, for its log line.
#[derive(Debug, Clone)]
pub struct ReasonName(pub String);

#[derive(Debug, Clone)]
struct Refusal {
    row: Row,
    /// The reason's name. A string, because a newer service may send a reason that this version does not know.
    reason: String,
    message: String,
    retry_after: Option<Duration>,
    /// Members of `innerError` beside those that every error has.
    details: Map<String, Value>,
    /// A header beside those that every error may have.
    header: Option<(HeaderName, HeaderValue)>,
    /// The id that the service generated for the refused call.
    request_id: Option<RequestId>,
}

impl Error {
    /// An error of the gateway itself: it cannot translate the request into a call.
    pub fn new(code: Code, reason: Reason, message: impl Into<String>) -> Self {
        Self::named(code, reason.wire_name().to_owned(), message.into())
    }

    fn named(code: Code, reason: String, message: String) -> Self {
        Self(Box::new(Refusal {
            row: status::of_error(code, Reason::from_wire(&reason)),
            reason,
            message,
            retry_after: None,
            details: Map::new(),
            header: None,
            request_id: None,
        }))
    }

    /// A malformed request, which cannot be translated.
    pub fn invalid(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, reason, message)
    }

    pub fn no_such_path() -> Self {
        Self::new(Code::Unimplemented, Reason::PathUnknown, "the service has no such path")
    }

    /// The path exists, but not with this method. axum lists the methods in `Allow`.
    pub fn method_not_allowed() -> Self {
        Self::new(Code::Unimplemented, Reason::MethodNotAllowed, "the path does not have this method")
    }

    /// The error for a GET of an upload session that has ended. Its details give the reason and the time of the end.
    pub fn session_ended(session: &UploadSession, request_id: RequestId) -> Self {
        let state = session.state();
        let mut error = Self::new(Code::NotFound, Reason::of_ended_session(state), ended_session_message(state));
        error.0.details.insert("endReason".into(), end_reason(session.end_reason()).into());
        if let Some(end_time) = &session.end_time {
            error.0.details.insert("endedDateTime".into(), instant(end_time).into());
        }
        error.0.request_id = Some(request_id);
        error
    }

    /// The document does not have the requested bytes.
    pub fn out_of_range(size_bytes: u64) -> Self {
        let mut error = Self::new(Code::OutOfRange, Reason::OffsetOutOfRange, "the document does not have these bytes");
        let range = HeaderValue::from_str(&format!("bytes */{size_bytes}"));
        error.0.header = range.ok().map(|range| (header::CONTENT_RANGE, range));
        error
    }

    /// The credential is longer than the service accepts.
    pub fn credential_too_large(max_bytes: usize) -> Self {
        let message = format!("the credential is too long: at most {max_bytes} bytes are accepted");
        let mut error = Self::new(Code::ResourceExhausted, Reason::CredentialTooLarge, message);
        error.0.details.insert("maxBytes".into(), max_bytes.to_string().into());
        error
    }

    /// The body is compressed or encoded in another way. RFC 9110, section 12.5.3: the header lists what is accepted.
    pub fn encoded_body() -> Self {
        let message = "the body must be sent as it is, without a Content-Encoding such as gzip";
        let mut error = Self::invalid(Reason::ContentEncodingNotSupported, message);
        error.0.header = Some((header::ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        error
    }

    /// Whether the credential could not be checked.
    pub fn leaves_caller_unproved(&self) -> bool {
        self.0.reason == Reason::IssuerKeysUnavailable.wire_name()
    }

    /// The reason's name, for the log line after the response is built.
    pub fn into_reason(self) -> ReasonName {
        ReasonName(self.0.reason)
    }

    /// The body of the response, in OData's form.
    pub fn odata(&self, request_id: &str, client_request_id: &str) -> Value {
        let now = OffsetDateTime::now_utc();
        let mut inner_error = self.0.details.clone();
        if let Some(code) = self.0.row.inner_code {
            inner_error.insert("code".into(), code.into());
        }
        inner_error.insert("reason".into(), self.0.reason.as_str().into());
        inner_error.insert("date".into(), odata_date(now).into());
        inner_error.insert("request-id".into(), request_id.into());
        inner_error.insert("client-request-id".into(), client_request_id.into());
        json!({"error": {"code": self.0.row.code, "message": self.0.message, "innerError": inner_error}})
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let Some(info) = status.get_details_error_info() else { return unreachable_service(&status) };
        let violations = status.get_details_bad_request().map(|request| request.field_violations).unwrap_or_default();
        let mut message = status.message().to_owned();
        let mut fields = Vec::new();
        for violation in &violations {
            let field = field_over_rest(&violation.field);
            message = message.replacen(&violation.field, field, 1);
            fields.push(Value::from(field));
        }
        let mut error = Self::named(status.code(), info.reason, message);
        error.0.retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        error.0.request_id = RequestId::of(status.metadata());
        if !fields.is_empty() {
            error.0.details.insert("fields".into(), fields.into());
        }
        for (key, value) in info.metadata {
            error.0.details.insert(camel_case(&key), value.into());
        }
        error
    }
}

/// Converts `max_bytes` to `maxBytes`.
fn camel_case(key: &str) -> String {
    let mut after_underscore = false;
    let mut name = String::new();
    for letter in key.chars() {
        match letter {
            '_' => {}
            letter if after_underscore => name.push(letter.to_ascii_uppercase()),
            letter => name.push(letter),
        }
        after_underscore = letter == '_';
    }
    name
}

/// The part of a REST request that corresponds to a field of a gRPC message.
fn field_over_rest(field: &str) -> &str {
    match field {
        "properties.document_name" => "properties.documentName",
        "properties.content_type" => "properties.contentType",
        "properties.size_bytes" => "properties.size",
        "header.start" | "header.end" | "header.total" => "Content-Range",
        "name" | "parent" | "header.name" => "path",
        "request_id" => "Repeatability-Request-ID",
        field => field,
    }
}

/// Every error of the service has a reason. An error without one comes from the transport: the connection was refused
/// or lost.
fn unreachable_service(status: &Status) -> Error {
    tracing::warn!(grpc.code = ?status.code(), error = status.message(), "the service cannot be reached");
    let message = "the service does not answer at the moment; it is unknown whether it has carried out the request";
    let mut error = Error::new(Code::Unavailable, Reason::ServiceUnreachable, message);
    error.0.retry_after = Some(UNREACHABLE_RETRY);
    error
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = self.0.row.status.into_response();
        let headers = response.headers_mut();
        headers.extend(self.0.header.clone());
        if let Some(delay) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, delay.as_secs().into());
        }
        if self.0.row.code == "unauthenticated" {
            headers.insert(header::WWW_AUTHENTICATE, challenge(&self.0.reason));
        }
        if let Some(id) = &self.0.request_id {
            response.extensions_mut().insert(id.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// RFC 6750, section 3: without a token only the scheme and the realm, with a bad token also an error.
fn challenge(reason: &str) -> HeaderValue {
    if reason == Reason::TokenMissing.wire_name() {
        HeaderValue::from_static("Bearer realm=\"print-upload\"")
    } else {
        HeaderValue::from_static("Bearer realm=\"print-upload\", error=\"invalid_token\"")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_reason_of_a_newer_service_is_passed_on() {
        let details = ErrorDetails::with_error_info("OF_A_NEWER_SERVICE", "print-upload", HashMap::new());
        let error = Error::from(Status::with_error_details(Code::PermissionDenied, "no", details));
        let body = error.odata("1", "2");
        assert_eq!(body["error"]["code"], "accessDenied");
        assert_eq!(body["error"]["innerError"]["reason"], "OF_A_NEWER_SERVICE");
    }
}
