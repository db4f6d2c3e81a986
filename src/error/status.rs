//! The status of a failure: the gRPC code, the reason and the details.

use std::{collections::HashMap, time::Duration};

use metrics::counter;
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt};

use super::{Error, StreamProblem};
use crate::{blobs, proto::Reason, quotas::Reached, telemetry::meters};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "print-upload";

impl Error {
    /// The gRPC code and the reason.
    pub fn code_and_reason(&self) -> (Code, Reason) {
        use Code::*;
        match self {
            Self::MissingToken => (Unauthenticated, Reason::TokenMissing),
            Self::InvalidToken(problem) => (Unauthenticated, problem.reason()),
            Self::CredentialTooLarge(_) => (ResourceExhausted, Reason::CredentialTooLarge),
            Self::UploadUrlRenewed => (Unauthenticated, Reason::UploadUrlRenewed),
            Self::KeysUnavailable => (Unavailable, Reason::IssuerKeysUnavailable),
            Self::PersonalAccount => (PermissionDenied, Reason::PersonalAccountNotSupported),
            Self::MissingPermission { .. } => (PermissionDenied, Reason::PermissionMissing),
            Self::UploadTokenNotAccepted => (PermissionDenied, Reason::UploadTokenNotAccepted),
            Self::NoSubscription => (PermissionDenied, Reason::SubscriptionNotActive),
            Self::NoPrinterPermission => (PermissionDenied, Reason::PrinterPermissionMissing),
            Self::NotJobCreator => (PermissionDenied, Reason::NotJobCreator),
            Self::NotSessionOwner => (PermissionDenied, Reason::NotSessionOwner),
            Self::NoProcessingTask => (PermissionDenied, Reason::NoProcessingTask),
            Self::NotCatalogClient => (PermissionDenied, Reason::NotCatalogClient),
            Self::MethodUnknown => (Unimplemented, Reason::MethodUnknown),
            Self::InvalidField { .. } => (InvalidArgument, Reason::InvalidField),
            Self::InvalidStream(problem) => (InvalidArgument, problem.reason()),
            Self::TooLarge { what, .. } => (InvalidArgument, what.reason()),
            Self::FirstMessageTimeout(_) => (DeadlineExceeded, Reason::FirstMessageTimeout),
            Self::BodyTooLong { .. } | Self::BodyTooShort { .. } => (InvalidArgument, Reason::RangeLengthMismatch),
            Self::DigestMismatch(_) => (InvalidArgument, Reason::DigestMismatch),
            Self::PrinterNotFound => (NotFound, Reason::PrinterNotFound),
            Self::PrintJobNotFound => (NotFound, Reason::PrintJobNotFound),
            Self::DocumentNotFound => (NotFound, Reason::DocumentNotFound),
            Self::SessionNotFound => (NotFound, Reason::UploadSessionNotFound),
            Self::EtagMismatch => (Aborted, Reason::EtagMismatch),
            Self::ParentNotFound(_) => (NotFound, Reason::ParentNotFound),
            Self::SessionActive(_) => (AlreadyExists, Reason::UploadSessionActive),
            Self::DocumentAlreadyUploaded => (FailedPrecondition, Reason::DocumentAlreadyUploaded),
            Self::DocumentNotUploaded => (FailedPrecondition, Reason::DocumentNotUploaded),
            Self::SessionCanceled => (Aborted, Reason::UploadSessionCanceled),
            Self::SessionExpired => (Aborted, Reason::UploadSessionExpired),
            Self::SessionCompleted => (FailedPrecondition, Reason::UploadSessionCompleted),
            Self::RangeAlreadyReceived => (AlreadyExists, Reason::RangeAlreadyReceived),
            Self::RangeRaced => (Aborted, Reason::RangeRaced),
            Self::DigestConflict => (Aborted, Reason::DigestConflict),
            Self::RangeTimeout(_) => (DeadlineExceeded, Reason::RangeTimeout),
            Self::DownloadTimeout(_) => (DeadlineExceeded, Reason::DownloadTimeout),
            Self::TooManyWriters(_) => (ResourceExhausted, Reason::TooManyWriters),
            Self::TooManyTransfers(_) => (ResourceExhausted, Reason::TooManyTransfers),
            Self::TooManyFragments(_) => (ResourceExhausted, Reason::TooManyFragments),
            Self::LimitReached(reached) if reached.limit.is_rate_of_calls() => {
                (ResourceExhausted, Reason::TooManyRequests)
            }
            Self::LimitReached(_) => (ResourceExhausted, Reason::LimitReached),
            Self::RequestIdReused => (InvalidArgument, Reason::RequestIdReused),
            Self::PrintJobChanged => (FailedPrecondition, Reason::PrintJobChanged),
            Self::PrintJobCanceled => (FailedPrecondition, Reason::PrintJobCanceled),
            Self::PrintJobDeleted => (FailedPrecondition, Reason::PrintJobDeleted),
            Self::OffsetOutOfRange(_) => (OutOfRange, Reason::OffsetOutOfRange),
            Self::Database(error) if error.is_transient() => (Unavailable, Reason::DatabaseUnavailable),
            Self::Database(_) | Self::Internal(_) => (Internal, Reason::Internal),
            Self::Blobs(blobs::Error::Full(_)) => (ResourceExhausted, Reason::StoreFull),
            Self::BytesMissing(_) => (DataLoss, Reason::BytesMissing),
            Self::Blobs(_) => (Unavailable, Reason::StoreUnavailable),
        }
    }

    /// How long to wait before the same call can succeed. `None` where it would fail again.
    fn retry_after(&self) -> Option<Duration> {
        match (self.code_and_reason().0, self) {
            (Code::Unavailable, _) | (_, Self::TooManyWriters(_) | Self::TooManyTransfers(_)) => {
                Some(Duration::from_secs(1))
            }
            (_, Self::Blobs(blobs::Error::Full(_))) => Some(Duration::from_secs(30)),
            (_, Self::RangeRaced) => Some(Duration::ZERO),
            (_, Self::LimitReached(reached)) => reached.retry_after,
            _ => None,
        }
    }

    /// The values that a program may need besides the reason.
    fn metadata(&self) -> HashMap<String, String> {
        let values = match self {
            Self::SessionActive(session) => vec![("session", session.to_string())],
            Self::MissingPermission { needed } => vec![("any_of", needed.clone())],
            Self::TooManyWriters(limit) => vec![("max_writers", limit.to_string())],
            Self::TooManyTransfers(refused) => {
                vec![("limit", refused.limit.as_str().to_owned()), ("max_transfers", refused.max.to_string())]
            }
            Self::TooManyFragments(limit) => vec![("max_fragments", limit.to_string())],
            Self::RangeTimeout(limit) => vec![("range_timeout_seconds", limit.as_secs().to_string())],
            Self::TooLarge { limit, .. } => vec![("max_bytes", limit.to_string())],
            Self::CredentialTooLarge(limit) => vec![("max_bytes", limit.to_string())],
            Self::OffsetOutOfRange(size) => vec![("size_bytes", size.to_string())],
            Self::LimitReached(reached) => reached_metadata(reached),
            _ => Vec::new(),
        };
        values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Logs the cause, which the client must not see.
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

fn reached_metadata(reached: &Reached) -> Vec<(&'static str, String)> {
    let mut values = vec![("limit", reached.limit.name().to_owned()), ("max", reached.max.to_string())];
    values.extend(reached.window.map(|window| ("window_seconds", window.as_secs().to_string())));
    values
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.log_cause();
        if let Error::LimitReached(reached) = &error {
            counter!(meters::LIMITS_REACHED, "limit" => reached.limit.name()).increment(1);
        }
        let (code, reason) = error.code_and_reason();
        let mut details = ErrorDetails::with_error_info(reason.wire_name(), DOMAIN, error.metadata());
        match &error {
            Error::InvalidField { field, problem } => drop(details.add_bad_request_violation(field.as_ref(), problem)),
            Error::RequestIdReused => {
                details.add_bad_request_violation("request_id", "was used before, with another configuration");
            }
            Error::TooLarge { what, limit } => {
                details.add_bad_request_violation(what.field(), format!("must be at most {limit} bytes"));
            }
            _ => {}
        }
        if let Some(delay) = error.retry_after() {
            details.set_retry_info(Some(delay));
        }
        let message = if code == Code::Internal { "internal error".to_owned() } else { error.to_string() };
        let mut status = Status::with_error_details(code, message, details);
        if let Error::InvalidStream(StreamProblem::FirstMessageCompressed) = error {
            // The gRPC protocol ("Compression") has it list what is accepted.
            status.metadata_mut().insert("grpc-accept-encoding", MetadataValue::from_static("identity"));
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[test]
    fn only_a_transient_failure_of_the_database_is_worth_a_retry() {
        let driver = |error: sqlx::Error| store::Error::from(error);
        for transient in [
            store::Error::NoAnswer,
            store::Error::NoConnection,
            driver(sqlx::Error::PoolTimedOut),
            driver(sqlx::Error::WorkerCrashed),
        ] {
            let error = Error::from(transient);
            assert_eq!(error.code_and_reason(), (Code::Unavailable, Reason::DatabaseUnavailable), "{error:?}");
            assert!(error.retry_after().is_some(), "{error:?}");
        }
        let corrupt = store::Error::Corrupt { table: "print_job", column: "created_by", row: "1".into() };
        for permanent in [store::Error::Impossible("a bug"), corrupt, driver(sqlx::Error::RowNotFound)] {
            let error = Error::from(permanent);
            assert_eq!(error.code_and_reason(), (Code::Internal, Reason::Internal), "{error:?}");
            assert_eq!(error.retry_after(), None, "{error:?}");
            assert_eq!(Status::from(error).message(), "internal error");
        }
    }
}
