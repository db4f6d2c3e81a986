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
        (_, "BODY_TOO_LARGE" | "CONFIGURATION_TOO_LARGE" | "FIRST_MESSAGE_TOO_LARGE") => {
            row(S::PAYLOAD_TOO_LARGE, "invalidRequest")
        }
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
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// The status of every reason there is.
    const TABLE: [(u16, Code, &[&str]); 22] = [
        (400, Code::InvalidArgument, &["INVALID_FIELD", "RANGE_LENGTH_MISMATCH", "DIGEST_MISMATCH", "BODY_NOT_JSON"]),
        (400, Code::InvalidArgument, &["CONTENT_RANGE_INVALID", "IF_MATCH_INVALID", "QUERY_NOT_SUPPORTED"]),
        (400, Code::InvalidArgument, &["HEADER_MISSING", "HEADER_REPEATED", "CONTENT_MISSING", "CHUNK_TOO_LARGE"]),
        (400, Code::InvalidArgument, &["STREAM_BROKEN", "FIRST_MESSAGE_BROKEN", "FIRST_MESSAGE_MISSING"]),
        (400, Code::InvalidArgument, &["FIRST_MESSAGE_COMPRESSED", "FIRST_MESSAGE_MALFORMED"]),
        (401, Code::Unauthenticated, &["TOKEN_MISSING", "TOKEN_MALFORMED", "TOKEN_EXPIRED", "TOKEN_NOT_YET_VALID"]),
        (401, Code::Unauthenticated, &["TOKEN_ISSUER_UNKNOWN", "TOKEN_KEY_UNKNOWN", "TOKEN_SIGNATURE_INVALID"]),
        (401, Code::Unauthenticated, &["TOKEN_ALGORITHM_WRONG", "TOKEN_AUDIENCE_WRONG", "TOKEN_CLAIMS_INVALID"]),
        (401, Code::Unauthenticated, &["UPLOAD_TOKEN_INVALID", "UPLOAD_TOKEN_EXPIRED"]),
        (403, Code::PermissionDenied, &["PERSONAL_ACCOUNT_NOT_SUPPORTED", "PERMISSION_MISSING", "NO_PROCESSING_TASK"]),
        (403, Code::PermissionDenied, &["SUBSCRIPTION_NOT_ACTIVE", "PRINTER_PERMISSION_MISSING", "NOT_JOB_CREATOR"]),
        (403, Code::PermissionDenied, &["NOT_SESSION_OWNER", "UPLOAD_TOKEN_NOT_ACCEPTED", "NOT_CATALOG_CLIENT"]),
        (404, Code::NotFound, &["DOCUMENT_NOT_FOUND", "UPLOAD_SESSION_NOT_FOUND", "UPLOAD_SESSION_CANCELED"]),
        (404, Code::NotFound, &["PRINTER_NOT_FOUND", "PRINT_JOB_NOT_FOUND", "PARENT_NOT_FOUND"]),
        (404, Code::FailedPrecondition, &["UPLOAD_SESSION_COMPLETED", "UPLOAD_SESSION_EXPIRED", "PATH_UNKNOWN"]),
        (409, Code::Aborted, &["UPLOAD_SESSION_CANCELED", "RANGE_RACED", "DIGEST_CONFLICT", "TOO_MANY_FRAGMENTS"]),
        (
            409,
            Code::FailedPrecondition,
            &["UPLOAD_SESSION_ACTIVE", "DOCUMENT_ALREADY_UPLOADED", "DOCUMENT_NOT_UPLOADED"],
        ),
        (409, Code::FailedPrecondition, &["PRINT_JOB_CANCELED", "PRINT_JOB_CHANGED", "PRINT_JOB_DELETED"]),
        (413, Code::InvalidArgument, &["RANGE_TOO_LARGE", "DOCUMENT_TOO_LARGE", "BODY_TOO_LARGE"]),
        (413, Code::InvalidArgument, &["CONFIGURATION_TOO_LARGE", "FIRST_MESSAGE_TOO_LARGE"]),
        (500, Code::DataLoss, &["BYTES_MISSING"]),
        (503, Code::Unavailable, &["DATABASE_UNAVAILABLE", "STORE_UNAVAILABLE", "ISSUER_KEYS_UNAVAILABLE"]),
    ];

    /// Those that have a status, or nearly one, to themselves.
    const SINGULAR: [(u16, Code, &str); 15] = [
        (405, Code::Unimplemented, "METHOD_NOT_ALLOWED"),
        (408, Code::DeadlineExceeded, "BODY_TIMEOUT"),
        (408, Code::DeadlineExceeded, "RANGE_TIMEOUT"),
        (411, Code::FailedPrecondition, "LENGTH_REQUIRED"),
        (412, Code::Aborted, "ETAG_MISMATCH"),
        (415, Code::InvalidArgument, "CONTENT_TYPE_NOT_JSON"),
        (416, Code::AlreadyExists, "RANGE_ALREADY_RECEIVED"),
        (416, Code::OutOfRange, "OFFSET_OUT_OF_RANGE"),
        (429, Code::ResourceExhausted, "TOO_MANY_WRITERS"),
        (501, Code::Unimplemented, "METHOD_UNKNOWN"),
        (503, Code::ResourceExhausted, "TOO_MANY_TRANSFERS"),
        (503, Code::Unavailable, "SERVICE_UNREACHABLE"),
        (504, Code::DeadlineExceeded, "DOWNLOAD_TIMEOUT"),
        (504, Code::DeadlineExceeded, "FIRST_MESSAGE_TIMEOUT"),
        (507, Code::ResourceExhausted, "STORE_FULL"),
    ];

    fn table() -> impl Iterator<Item = (u16, Code, &'static str)> {
        let rows =
            TABLE.iter().flat_map(|(status, code, reasons)| reasons.iter().map(|reason| (*status, *code, *reason)));
        rows.chain(SINGULAR)
    }

    #[test]
    fn every_reason_has_its_status() {
        let status = |code, reason| of_error(code, reason).status.as_u16();
        let wrong: Vec<_> = table().filter(|(expected, code, reason)| status(*code, reason) != *expected).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(status(Code::Internal, "INTERNAL"), 500);
    }

    #[test]
    fn no_reason_is_missing_from_the_table() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut reasons = BTreeSet::new();
        for room in ["error", "guard", "rpc", "gateway"] {
            collect_reasons(&source.join(room), &mut reasons);
        }
        let known: BTreeSet<String> = table().map(|(_, _, reason)| reason.to_owned()).collect();
        assert_eq!(known, reasons);
    }

    /// Every string that is written like a reason: `WORD_WORD`, outside tests.
    fn collect_reasons(path: &Path, reasons: &mut BTreeSet<String>) {
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("a folder");
            return entries.for_each(|entry| collect_reasons(&entry.expect("an entry").path(), reasons));
        }
        let text = fs::read_to_string(path).expect("a source file");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_reason = |text: &&str| text.contains('_') && text.bytes().all(|c| c.is_ascii_uppercase() || c == b'_');
        reasons.extend(code.split('"').filter(is_reason).map(str::to_owned));
    }
}
