//! What a caller is told of a failure: the gRPC code, the reason and the details.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::Error;
use crate::blobs;

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "print-upload";

impl Error {
    /// The gRPC code and the `ErrorInfo` reason.
    pub fn code_and_reason(&self) -> (Code, &'static str) {
        use Code::*;
        match self {
            Self::MissingToken => (Unauthenticated, "TOKEN_MISSING"),
            Self::InvalidToken { reason, .. } => (Unauthenticated, reason),
            Self::KeysUnavailable => (Unavailable, "ISSUER_KEYS_UNAVAILABLE"),
            Self::PersonalAccount => (PermissionDenied, "PERSONAL_ACCOUNT_NOT_SUPPORTED"),
            Self::MissingPermission { .. } => (PermissionDenied, "PERMISSION_MISSING"),
            Self::UploadTokenNotAccepted => (PermissionDenied, "UPLOAD_TOKEN_NOT_ACCEPTED"),
            Self::NoSubscription => (PermissionDenied, "SUBSCRIPTION_NOT_ACTIVE"),
            Self::NoPrinterPermission => (PermissionDenied, "PRINTER_PERMISSION_MISSING"),
            Self::NotJobCreator => (PermissionDenied, "NOT_JOB_CREATOR"),
            Self::NotSessionOwner => (PermissionDenied, "NOT_SESSION_OWNER"),
            Self::NoProcessingTask => (PermissionDenied, "NO_PROCESSING_TASK"),
            Self::NotCatalogClient => (PermissionDenied, "NOT_CATALOG_CLIENT"),
            Self::MethodUnknown => (Unimplemented, "METHOD_UNKNOWN"),
            Self::InvalidField { .. } => (InvalidArgument, "INVALID_FIELD"),
            Self::InvalidStream { reason, .. } | Self::TooLarge { reason, .. } => (InvalidArgument, reason),
            Self::FirstMessageTimeout(_) => (DeadlineExceeded, "FIRST_MESSAGE_TIMEOUT"),
            Self::BodyTooLong { .. } | Self::BodyTooShort { .. } => (InvalidArgument, "RANGE_LENGTH_MISMATCH"),
            Self::DigestMismatch(_) => (InvalidArgument, "DIGEST_MISMATCH"),
            Self::PrinterNotFound => (NotFound, "PRINTER_NOT_FOUND"),
            Self::PrintJobNotFound => (NotFound, "PRINT_JOB_NOT_FOUND"),
            Self::DocumentNotFound => (NotFound, "DOCUMENT_NOT_FOUND"),
            Self::SessionNotFound => (NotFound, "UPLOAD_SESSION_NOT_FOUND"),
            Self::EtagMismatch => (Aborted, "ETAG_MISMATCH"),
            Self::ParentNotFound(_) => (NotFound, "PARENT_NOT_FOUND"),
            Self::SessionActive(_) => (AlreadyExists, "UPLOAD_SESSION_ACTIVE"),
            Self::DocumentAlreadyUploaded => (FailedPrecondition, "DOCUMENT_ALREADY_UPLOADED"),
            Self::DocumentNotUploaded => (FailedPrecondition, "DOCUMENT_NOT_UPLOADED"),
            Self::SessionCanceled => (Aborted, "UPLOAD_SESSION_CANCELED"),
            Self::SessionExpired => (Aborted, "UPLOAD_SESSION_EXPIRED"),
            Self::SessionCompleted => (FailedPrecondition, "UPLOAD_SESSION_COMPLETED"),
            Self::RangeAlreadyReceived => (AlreadyExists, "RANGE_ALREADY_RECEIVED"),
            Self::RangeRaced => (Aborted, "RANGE_RACED"),
            Self::DigestConflict => (Aborted, "DIGEST_CONFLICT"),
            Self::RangeTimeout(_) => (DeadlineExceeded, "RANGE_TIMEOUT"),
            Self::DownloadTimeout(_) => (DeadlineExceeded, "DOWNLOAD_TIMEOUT"),
            Self::TooManyWriters(_) => (ResourceExhausted, "TOO_MANY_WRITERS"),
            Self::TooManyTransfers => (ResourceExhausted, "TOO_MANY_TRANSFERS"),
            Self::TooManyFragments(_) => (ResourceExhausted, "TOO_MANY_FRAGMENTS"),
            Self::PrintJobChanged => (FailedPrecondition, "PRINT_JOB_CHANGED"),
            Self::PrintJobCanceled => (FailedPrecondition, "PRINT_JOB_CANCELED"),
            Self::PrintJobDeleted => (FailedPrecondition, "PRINT_JOB_DELETED"),
            Self::OffsetOutOfRange(_) => (OutOfRange, "OFFSET_OUT_OF_RANGE"),
            Self::Database(error) if is_transient(error) => (Unavailable, "DATABASE_UNAVAILABLE"),
            Self::Database(_) | Self::Internal(_) => (Internal, "INTERNAL"),
            Self::Blobs(blobs::Error::Full(_)) => (ResourceExhausted, "STORE_FULL"),
            Self::BytesMissing(_) => (DataLoss, "BYTES_MISSING"),
            Self::Blobs(_) => (Unavailable, "STORE_UNAVAILABLE"),
        }
    }

    /// How long to wait before the same call can succeed; nothing where it would fail again.
    fn retry_after(&self) -> Option<Duration> {
        match (self.code_and_reason().0, self) {
            (Code::Unavailable, _) | (_, Self::TooManyWriters(_) | Self::TooManyTransfers) => {
                Some(Duration::from_secs(1))
            }
            (_, Self::Blobs(blobs::Error::Full(_))) => Some(Duration::from_secs(30)),
            (_, Self::RangeRaced) => Some(Duration::ZERO),
            _ => None,
        }
    }

    /// What a program may want to know beside the reason.
    fn metadata(&self) -> HashMap<String, String> {
        let pair = match self {
            Self::SessionActive(session) => ("session", session.to_string()),
            Self::MissingPermission { needed } => ("any_of", needed.clone()),
            Self::TooManyWriters(limit) => ("max_writers", limit.to_string()),
            Self::TooManyFragments(limit) => ("max_fragments", limit.to_string()),
            Self::RangeTimeout(limit) => ("range_timeout_seconds", limit.as_secs().to_string()),
            Self::TooLarge { limit, .. } => ("max_bytes", limit.to_string()),
            Self::OffsetOutOfRange(size) => ("size_bytes", size.to_string()),
            _ => return HashMap::new(),
        };
        HashMap::from([(pair.0.to_owned(), pair.1)])
    }

    /// Logs what the client must not see.
    fn log_cause(&self) {
        match self {
            Self::Database(cause) => tracing::error!(error = %cause, "database call failed"),
            Self::Blobs(cause) => tracing::error!(error = %cause, "object store call failed"),
            Self::BytesMissing(object) => tracing::error!(%object, "committed bytes are not in the object store"),
            Self::Internal(cause) => tracing::error!(error = %cause, "internal error"),
            _ => {}
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.log_cause();
        let (code, reason) = error.code_and_reason();
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, error.metadata());
        match &error {
            Error::InvalidField { field, problem } => drop(details.add_bad_request_violation(*field, problem)),
            Error::TooLarge { field, limit, .. } => {
                details.add_bad_request_violation(*field, format!("must be at most {limit} bytes"));
            }
            _ => {}
        }
        if let Some(delay) = error.retry_after() {
            details.set_retry_info(Some(delay));
        }
        let message = if code == Code::Internal { "internal error".to_owned() } else { error.to_string() };
        Status::with_error_details(code, message, details)
    }
}

/// Whether the database may well answer the next time: it cannot be reached, does not let us in, is starting or stopping,
/// is out of resources, was told to cancel, or had to choose between two transactions.
fn is_transient(error: &sqlx::Error) -> bool {
    const TRANSIENT_CLASSES: [&str; 7] = ["08", "28", "3D", "40", "53", "57", "58"];
    // A read-only replica, and a transaction that stood still for too long.
    const TRANSIENT_CODES: [&str; 2] = ["25006", "25P03"];
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            TRANSIENT_CODES.contains(&&*code) || TRANSIENT_CLASSES.iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}
