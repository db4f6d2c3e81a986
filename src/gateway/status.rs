//! The one table: which status answers what. Everything else in the gateway asks here.
//!
//! The codes are those of Microsoft Graph ("Microsoft Graph error responses and resource types"): one in `error.code`,
//! and where there is one, a more specific one in `innerError.code`.

use axum::http::StatusCode;
use tonic::Code;

use crate::proto::upload_session::State;

/// A job was created.
pub const JOB_CREATED: StatusCode = StatusCode::CREATED;
/// Something was deleted or canceled: nothing is left to say.
pub const DELETED: StatusCode = StatusCode::NO_CONTENT;
/// A part of a document follows.
pub const PART: StatusCode = StatusCode::PARTIAL_CONTENT;

/// The answer to a range: 202 while more are to come, 201 once the document is there.
pub fn of_range(state: State) -> StatusCode {
    if state == State::Completed { StatusCode::CREATED } else { StatusCode::ACCEPTED }
}

/// How an error is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The status.
    pub status: StatusCode,
    /// `error.code`.
    pub code: &'static str,
    /// `innerError.code`.
    pub inner_code: Option<&'static str>,
}

const fn row(status: StatusCode, code: &'static str) -> Row {
    Row { status, code, inner_code: None }
}

const fn inner(status: StatusCode, code: &'static str, inner_code: &'static str) -> Row {
    Row { status, code, inner_code: Some(inner_code) }
}

/// The row of an error: a gRPC code and the reason in its `ErrorInfo`, or one of the gateway's own reasons.
pub fn of_error(code: Code, reason: &str) -> Row {
    use StatusCode as S;
    match (code, reason) {
        (Code::Unauthenticated, "TOKEN_EXPIRED" | "UPLOAD_TOKEN_EXPIRED") => {
            inner(S::UNAUTHORIZED, "unauthenticated", "expiredToken")
        }
        (Code::Unauthenticated, _) => row(S::UNAUTHORIZED, "unauthenticated"),
        (Code::PermissionDenied, _) => row(S::FORBIDDEN, "accessDenied"),

        // The request is not one.
        (_, "PATH_UNKNOWN") => row(S::NOT_FOUND, "itemNotFound"),
        (_, "METHOD_NOT_ALLOWED") => row(S::METHOD_NOT_ALLOWED, "notAllowed"),
        (_, "QUERY_NOT_SUPPORTED") => row(S::BAD_REQUEST, "notSupported"),
        (_, "LENGTH_REQUIRED") => row(S::LENGTH_REQUIRED, "invalidRequest"),
        (_, "CONTENT_TYPE_NOT_JSON") => row(S::UNSUPPORTED_MEDIA_TYPE, "invalidRequest"),
        (_, "BODY_TIMEOUT") => row(S::REQUEST_TIMEOUT, "invalidRequest"),
        (_, "BODY_TOO_LARGE" | "CONFIGURATION_TOO_LARGE") => row(S::PAYLOAD_TOO_LARGE, "invalidRequest"),
        (_, "DOCUMENT_TOO_LARGE") => inner(S::PAYLOAD_TOO_LARGE, "invalidRequest", "maxFileSizeExceeded"),
        (_, "RANGE_TOO_LARGE") => inner(S::PAYLOAD_TOO_LARGE, "invalidRequest", "maxFragmentLengthExceeded"),
        (_, "RANGE_LENGTH_MISMATCH") => inner(S::BAD_REQUEST, "invalidRequest", "fragmentLengthMismatch"),
        (Code::InvalidArgument, _) => row(S::BAD_REQUEST, "invalidRequest"),

        // It is not there, or not any more: 404, and the reason tells which.
        (Code::NotFound, "UPLOAD_SESSION_NOT_FOUND" | "UPLOAD_SESSION_CANCELED")
        | (_, "UPLOAD_SESSION_EXPIRED" | "UPLOAD_SESSION_COMPLETED") => {
            inner(S::NOT_FOUND, "itemNotFound", "uploadSessionNotFound")
        }
        (Code::NotFound, _) => row(S::NOT_FOUND, "itemNotFound"),

        // It is in another state than the request needs.
        (_, "UPLOAD_SESSION_CANCELED") => inner(S::CONFLICT, "notAllowed", "uploadSessionFailed"),
        (_, "UPLOAD_SESSION_ACTIVE" | "DOCUMENT_NOT_UPLOADED") => {
            inner(S::CONFLICT, "notAllowed", "uploadSessionIncomplete")
        }
        (_, "ETAG_MISMATCH") => row(S::PRECONDITION_FAILED, "resourceModified"),
        (_, "RANGE_ALREADY_RECEIVED") => inner(S::RANGE_NOT_SATISFIABLE, "invalidRange", "fragmentOverlap"),
        (Code::OutOfRange, _) => row(S::RANGE_NOT_SATISFIABLE, "invalidRange"),
        (_, "RANGE_RACED" | "DIGEST_CONFLICT") => row(S::CONFLICT, "resourceModified"),
        (_, "TOO_MANY_FRAGMENTS") => row(S::CONFLICT, "quotaLimitReached"),
        (Code::Aborted | Code::AlreadyExists | Code::FailedPrecondition, _) => row(S::CONFLICT, "notAllowed"),

        // There is too much, or too little, of something.
        (_, "TOO_MANY_WRITERS") => inner(S::TOO_MANY_REQUESTS, "activityLimitReached", "throttledRequest"),
        (_, "STORE_FULL") => row(S::INSUFFICIENT_STORAGE, "quotaLimitReached"),
        (Code::ResourceExhausted | Code::Unavailable, _) => row(S::SERVICE_UNAVAILABLE, "serviceNotAvailable"),
        (_, "RANGE_TIMEOUT") => row(S::REQUEST_TIMEOUT, "invalidRequest"),
        (Code::DeadlineExceeded, _) => row(S::GATEWAY_TIMEOUT, "serviceNotAvailable"),

        (Code::Unimplemented, _) => row(S::NOT_IMPLEMENTED, "notSupported"),
        _ => row(S::INTERNAL_SERVER_ERROR, "generalException"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_has_ended_is_gone_for_those_who_look_and_a_conflict_for_those_who_write() {
        let status = |code, reason| of_error(code, reason).status;
        assert_eq!(status(Code::NotFound, "UPLOAD_SESSION_CANCELED"), StatusCode::NOT_FOUND);
        assert_eq!(status(Code::Aborted, "UPLOAD_SESSION_CANCELED"), StatusCode::CONFLICT);
        for reason in ["UPLOAD_SESSION_EXPIRED", "UPLOAD_SESSION_COMPLETED"] {
            assert_eq!(status(Code::NotFound, reason), StatusCode::NOT_FOUND);
            assert_eq!(status(Code::Aborted, reason), StatusCode::NOT_FOUND);
            assert_eq!(status(Code::FailedPrecondition, reason), StatusCode::NOT_FOUND);
        }
    }

    #[test]
    fn a_transient_fault_is_never_not_found() {
        for code in [Code::Unavailable, Code::ResourceExhausted, Code::DeadlineExceeded, Code::Internal, Code::DataLoss]
        {
            let status = of_error(code, "ANY").status;
            assert!(status.is_server_error(), "{code:?} is {status}");
        }
    }
}
