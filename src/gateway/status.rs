//! The only table of HTTP statuses. No other file of the gateway chooses one.
//!
//! The codes are those of Microsoft Graph ("Microsoft Graph error responses and resource types"). `error.code` has one,
//! and for some errors `innerError.code` has a more specific one.

use axum::{http::StatusCode, response::Response};
use tonic::Code;

use crate::proto::{Reason, upload_session::State};

/// A job was created.
pub const JOB_CREATED: StatusCode = StatusCode::CREATED;
/// Something was deleted or canceled: the response has no body.
pub const DELETED: StatusCode = StatusCode::NO_CONTENT;
/// The body is a part of a document.
pub const PART: StatusCode = StatusCode::PARTIAL_CONTENT;

/// The status after a range: 202 while bytes are missing, 201 once the document is complete.
pub fn of_range(state: State) -> StatusCode {
    if state == State::Completed { StatusCode::CREATED } else { StatusCode::ACCEPTED }
}

/// Whether the response refuses the caller, whatever was requested.
pub fn refuses_the_caller(response: &Response) -> bool {
    matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// How an error is written in a REST response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
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

/// The row of an error with this gRPC code and reason. The reason is from the service's `ErrorInfo` or from the
/// gateway. `Unspecified` stands for a reason of a newer service.
pub fn of_error(code: Code, reason: Reason) -> Row {
    use {Reason as R, StatusCode as S};
    match (reason, code) {
        (R::TokenExpired | R::UploadTokenExpired, _) => inner(S::UNAUTHORIZED, "unauthenticated", "expiredToken"),

        // The request is malformed.
        (R::PathUnknown, _) => row(S::NOT_FOUND, "itemNotFound"),
        (R::MethodNotAllowed, _) => row(S::METHOD_NOT_ALLOWED, "notAllowed"),
        (R::QueryNotSupported, _) => row(S::BAD_REQUEST, "notSupported"),
        (R::LengthRequired, _) => row(S::LENGTH_REQUIRED, "invalidRequest"),
        (R::ContentTypeNotJson | R::ContentEncodingNotSupported, _) => row(S::UNSUPPORTED_MEDIA_TYPE, "invalidRequest"),
        (R::BodyTimeout | R::RangeTimeout, _) => row(S::REQUEST_TIMEOUT, "invalidRequest"),
        (R::BodyTooLarge | R::ConfigurationTooLarge | R::FirstMessageTooLarge, _) => {
            row(S::PAYLOAD_TOO_LARGE, "invalidRequest")
        }
        (R::CredentialTooLarge, _) => row(S::REQUEST_HEADER_FIELDS_TOO_LARGE, "invalidRequest"),
        (R::DocumentTooLarge, _) => inner(S::PAYLOAD_TOO_LARGE, "invalidRequest", "maxFileSizeExceeded"),
        (R::RangeTooLarge, _) => inner(S::PAYLOAD_TOO_LARGE, "invalidRequest", "maxFragmentLengthExceeded"),
        (R::RangeLengthMismatch, _) => inner(S::BAD_REQUEST, "invalidRequest", "fragmentLengthMismatch"),

        // The session does not exist, or has ended: 404, and the reason distinguishes the two. Getting a canceled
        // session is a 404 as well, but sending a range to it conflicts with the cancel: 409.
        (R::UploadSessionNotFound | R::UploadSessionExpired | R::UploadSessionCompleted, _)
        | (R::UploadSessionCanceled, Code::NotFound) => inner(S::NOT_FOUND, "itemNotFound", "uploadSessionNotFound"),

        // The state does not allow the request.
        (R::UploadSessionCanceled, _) => inner(S::CONFLICT, "notAllowed", "uploadSessionFailed"),
        (R::UploadSessionActive | R::DocumentNotUploaded, _) => {
            inner(S::CONFLICT, "notAllowed", "uploadSessionIncomplete")
        }
        (R::EtagMismatch, _) => row(S::PRECONDITION_FAILED, "resourceModified"),
        (R::RangeAlreadyReceived, _) => inner(S::RANGE_NOT_SATISFIABLE, "invalidRange", "fragmentOverlap"),
        (R::RangeRaced | R::DigestConflict, _) => row(S::CONFLICT, "resourceModified"),

        // A limit is reached.
        (R::TooManyFragments, _) => row(S::CONFLICT, "quotaLimitReached"),
        (R::TooManyWriters | R::TooManyTransfers | R::LimitReached | R::TooManyRequests, _) => {
            inner(S::TOO_MANY_REQUESTS, "activityLimitReached", "throttledRequest")
        }
        (R::StoreFull, _) => row(S::INSUFFICIENT_STORAGE, "quotaLimitReached"),

        (R::Unspecified, _)
        | (R::TokenMissing | R::TokenMalformed | R::TokenNotYetValid | R::TokenIssuerUnknown | R::TokenKeyUnknown, _)
        | (R::TokenSignatureInvalid | R::TokenAlgorithmWrong | R::TokenAudienceWrong | R::TokenClaimsInvalid, _)
        | (R::UploadTokenInvalid | R::UploadTokenNotAccepted | R::PermissionMissing | R::SubscriptionNotActive, _)
        | (R::PersonalAccountNotSupported | R::PrinterPermissionMissing | R::NotJobCreator | R::NotSessionOwner, _)
        | (R::NoProcessingTask | R::NotCatalogClient | R::InvalidField | R::DigestMismatch | R::BodyNotJson, _)
        | (R::ContentRangeInvalid | R::IfMatchInvalid | R::HeaderMissing | R::HeaderRepeated | R::ContentMissing, _)
        | (R::ChunkTooLarge | R::StreamBroken | R::FirstMessageMissing | R::FirstMessageBroken, _)
        | (R::FirstMessageCompressed | R::FirstMessageMalformed | R::FirstMessageTimeout | R::DownloadTimeout, _)
        | (R::PrinterNotFound | R::PrintJobNotFound | R::DocumentNotFound | R::ParentNotFound, _)
        | (R::DocumentAlreadyUploaded | R::PrintJobChanged | R::PrintJobCanceled | R::PrintJobDeleted, _)
        | (R::RequestIdReused | R::UploadUrlRenewed, _)
        | (R::OffsetOutOfRange | R::IssuerKeysUnavailable | R::ServiceUnreachable, _)
        | (R::DatabaseUnavailable | R::StoreUnavailable | R::BytesMissing | R::Internal | R::MethodUnknown, _) => {
            of_code(code)
        }
    }
}

/// The row of an error whose reason adds nothing to its code, or is unknown.
fn of_code(code: Code) -> Row {
    use StatusCode as S;
    match code {
        Code::InvalidArgument => row(S::BAD_REQUEST, "invalidRequest"),
        Code::Unauthenticated => row(S::UNAUTHORIZED, "unauthenticated"),
        Code::PermissionDenied => row(S::FORBIDDEN, "accessDenied"),
        Code::NotFound => row(S::NOT_FOUND, "itemNotFound"),
        Code::Aborted | Code::AlreadyExists | Code::FailedPrecondition => row(S::CONFLICT, "notAllowed"),
        Code::OutOfRange => row(S::RANGE_NOT_SATISFIABLE, "invalidRange"),
        Code::Unimplemented => row(S::NOT_IMPLEMENTED, "notSupported"),
        Code::ResourceExhausted | Code::Unavailable => row(S::SERVICE_UNAVAILABLE, "serviceNotAvailable"),
        Code::DeadlineExceeded => row(S::GATEWAY_TIMEOUT, "serviceNotAvailable"),
        Code::Ok | Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            row(S::INTERNAL_SERVER_ERROR, "generalException")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::proto::DESCRIPTOR;

    /// The status of every reason, where several reasons share a status and a code.
    const TABLE: [(u16, Code, &[&str]); 22] = [
        (400, Code::InvalidArgument, &["INVALID_FIELD", "RANGE_LENGTH_MISMATCH", "DIGEST_MISMATCH", "BODY_NOT_JSON"]),
        (400, Code::InvalidArgument, &["CONTENT_RANGE_INVALID", "IF_MATCH_INVALID", "QUERY_NOT_SUPPORTED"]),
        (400, Code::InvalidArgument, &["HEADER_MISSING", "HEADER_REPEATED", "CONTENT_MISSING", "CHUNK_TOO_LARGE"]),
        (400, Code::InvalidArgument, &["STREAM_BROKEN", "FIRST_MESSAGE_BROKEN", "FIRST_MESSAGE_MISSING"]),
        (400, Code::InvalidArgument, &["FIRST_MESSAGE_COMPRESSED", "FIRST_MESSAGE_MALFORMED", "REQUEST_ID_REUSED"]),
        (401, Code::Unauthenticated, &["TOKEN_MISSING", "TOKEN_MALFORMED", "TOKEN_EXPIRED", "TOKEN_NOT_YET_VALID"]),
        (401, Code::Unauthenticated, &["TOKEN_ISSUER_UNKNOWN", "TOKEN_KEY_UNKNOWN", "TOKEN_SIGNATURE_INVALID"]),
        (401, Code::Unauthenticated, &["TOKEN_ALGORITHM_WRONG", "TOKEN_AUDIENCE_WRONG", "TOKEN_CLAIMS_INVALID"]),
        (401, Code::Unauthenticated, &["UPLOAD_TOKEN_INVALID", "UPLOAD_TOKEN_EXPIRED", "UPLOAD_URL_RENEWED"]),
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

    /// The status of the other reasons.
    const SINGULAR: [(u16, Code, &str); 20] = [
        (405, Code::Unimplemented, "METHOD_NOT_ALLOWED"),
        (408, Code::DeadlineExceeded, "BODY_TIMEOUT"),
        (408, Code::DeadlineExceeded, "RANGE_TIMEOUT"),
        (411, Code::FailedPrecondition, "LENGTH_REQUIRED"),
        (412, Code::Aborted, "ETAG_MISMATCH"),
        (415, Code::InvalidArgument, "CONTENT_TYPE_NOT_JSON"),
        (415, Code::InvalidArgument, "CONTENT_ENCODING_NOT_SUPPORTED"),
        (416, Code::AlreadyExists, "RANGE_ALREADY_RECEIVED"),
        (416, Code::OutOfRange, "OFFSET_OUT_OF_RANGE"),
        (429, Code::ResourceExhausted, "LIMIT_REACHED"),
        (429, Code::ResourceExhausted, "TOO_MANY_REQUESTS"),
        (429, Code::ResourceExhausted, "TOO_MANY_WRITERS"),
        (429, Code::ResourceExhausted, "TOO_MANY_TRANSFERS"),
        (431, Code::ResourceExhausted, "CREDENTIAL_TOO_LARGE"),
        (500, Code::Internal, "INTERNAL"),
        (501, Code::Unimplemented, "METHOD_UNKNOWN"),
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

    /// The names of all reasons, as they are on the wire.
    fn all_reasons() -> BTreeSet<String> {
        let pool = DescriptorPool::decode(DESCRIPTOR).expect("the descriptor");
        let reasons = pool.get_enum_by_name("print.upload.v1.Reason").expect("the reasons");
        let names = reasons.values().filter(|value| value.number() != 0);
        names.map(|value| value.name().trim_start_matches("REASON_").to_owned()).collect()
    }

    #[test]
    fn every_reason_has_its_status() {
        let status = |code, reason| of_error(code, Reason::from_wire(reason)).status.as_u16();
        let wrong: Vec<_> = table().filter(|(expected, code, reason)| status(*code, reason) != *expected).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let listed: BTreeSet<String> = table().map(|(_, _, reason)| reason.to_owned()).collect();
        assert_eq!(listed, all_reasons());
    }

    #[test]
    fn a_reason_of_a_newer_service_has_the_row_of_its_code() {
        let rows = [
            (Code::InvalidArgument, 400, "invalidRequest"),
            (Code::Unauthenticated, 401, "unauthenticated"),
            (Code::PermissionDenied, 403, "accessDenied"),
            (Code::NotFound, 404, "itemNotFound"),
            (Code::Aborted, 409, "notAllowed"),
            (Code::AlreadyExists, 409, "notAllowed"),
            (Code::FailedPrecondition, 409, "notAllowed"),
            (Code::OutOfRange, 416, "invalidRange"),
            (Code::Unimplemented, 501, "notSupported"),
            (Code::ResourceExhausted, 503, "serviceNotAvailable"),
            (Code::Unavailable, 503, "serviceNotAvailable"),
            (Code::DeadlineExceeded, 504, "serviceNotAvailable"),
            (Code::Internal, 500, "generalException"),
            (Code::Unknown, 500, "generalException"),
        ];
        for (code, status, error_code) in rows {
            let row = of_error(code, Reason::from_wire("OF_A_NEWER_SERVICE"));
            assert_eq!((row.status.as_u16(), row.code, row.inner_code), (status, error_code, None), "{code:?}");
        }
    }
}
