//! One type for every failure of a call. Only its module `status` knows the gRPC code, the reason and the details of
//! each.
//!
//! A client sees the message, exactly one `ErrorInfo` (`reason`, domain [`DOMAIN`], metadata), field violations for bad
//! input and `RetryInfo` where a retry can help. The cause of an internal failure is logged here and never sent.

mod problem;
mod status;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, time::Duration};

use print_upload_client::ended_session_message;

pub use problem::{Limited, StreamProblem, TokenProblem};
pub use status::DOMAIN;

use crate::{
    blobs,
    name::SessionId,
    permits,
    proto::upload_session::State,
    quotas::Reached,
    session::{End, WriterEnd},
    store,
};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // === The credential ===
    /// Neither an access token nor an upload token came with the call.
    #[error("the call needs a credential: an access token (`authorization: Bearer …`) or an upload token")]
    MissingToken,
    /// The access token or upload token is not valid.
    #[error(transparent)]
    InvalidToken(#[from] TokenProblem),
    /// The access token or upload token is too long.
    #[error("the credential is too long: at most {0} bytes are accepted")]
    CredentialTooLarge(usize),
    /// The upload URL that authorized the call was renewed.
    #[error("the owner of the upload session has renewed its upload URL: earlier ones are not accepted any more")]
    UploadUrlRenewed,
    /// The issuer's keys cannot be fetched, so that no access token can be verified.
    #[error("the token issuer's keys are not available at the moment")]
    KeysUnavailable,

    // === Permissions ===
    /// The caller has a personal Microsoft account.
    #[error("personal accounts are not supported")]
    PersonalAccount,
    /// The access token lacks the method's permissions.
    #[error("the access token has none of the permissions the call needs: {needed}")]
    MissingPermission {
        /// The permissions, separated by commas. The caller needs one of them.
        needed: String,
    },
    /// The upload token is not valid for this method or resource.
    #[error(
        "the upload token only allows sending to, getting and deleting its own session, named uploadSessions/{{id}}"
    )]
    UploadTokenNotAccepted,
    /// The tenant has no active subscription.
    #[error("the tenant has no active subscription")]
    NoSubscription,
    /// The access token lacks a permission on the printer or share.
    #[error("the access token has no permission that grants the use of the printer or printer share")]
    NoPrinterPermission,
    /// The caller did not create the job, and has no `.All` permission.
    #[error("the print job was created by somebody else")]
    NotJobCreator,
    /// The caller did not create the session.
    #[error("the upload session was created by somebody else")]
    NotSessionOwner,
    /// The job has no print task in `processing` that a trigger of the calling application has started.
    #[error("the print job has no print task in processing that a trigger of this application has started")]
    NoProcessingTask,
    /// The application does not maintain the catalog.
    #[error("the application is not one of those that maintain the catalog")]
    NotCatalogClient,

    // === The request ===
    /// The method does not exist.
    #[error("the service has no such method")]
    MethodUnknown,
    /// A field of the request has a value that is not allowed.
    #[error("{field}: {problem}")]
    InvalidField {
        /// The field, with dots between its parts.
        field: Cow<'static, str>,
        /// The problem of its value.
        problem: String,
    },
    /// More bytes than the service accepts.
    #[error("{}: must be at most {limit} bytes", .what.field())]
    TooLarge {
        /// What is too large.
        what: Limited,
        /// How many bytes it may have.
        limit: u64,
    },
    /// The request's messages do not follow the protocol of the method.
    #[error(transparent)]
    InvalidStream(#[from] StreamProblem),
    /// The first message did not arrive in time.
    #[error("the first message did not arrive within {} s", .0.as_secs())]
    FirstMessageTimeout(Duration),
    /// The body has more bytes than its range.
    #[error("the body has at least {received} bytes, but the range has {expected}")]
    BodyTooLong {
        /// The range's length.
        expected: u64,
        /// The bytes that arrived.
        received: u64,
    },
    /// The body has fewer bytes than its range.
    #[error("the body has {received} bytes, but the range has {expected}")]
    BodyTooShort {
        /// The range's length.
        expected: u64,
        /// The bytes that arrived.
        received: u64,
    },
    /// The body does not have the digest in its header. Holds the name of the digest.
    #[error("the body's {0} is not the one in the header")]
    DigestMismatch(&'static str),

    // === Resources ===
    /// No such printer or share in the caller's tenant.
    #[error("no such printer or printer share")]
    PrinterNotFound,
    /// No such job in the caller's tenant.
    #[error("no such print job")]
    PrintJobNotFound,
    /// No such document in the caller's tenant.
    #[error("no such document")]
    DocumentNotFound,
    /// No such session in the caller's tenant.
    #[error("no such upload session")]
    SessionNotFound,
    /// The etag is not that of the session that was named.
    #[error("the etag is not that of an upload session of this name")]
    EtagMismatch,
    /// The catalog entry above the one that was sent does not exist. Holds its kind.
    #[error("the {0} above it does not exist")]
    ParentNotFound(&'static str),

    // === States and limits ===
    /// Another session of the document is active.
    #[error("the document has an active upload session with another owner or other properties: {0}")]
    SessionActive(SessionId),
    /// Every byte of the document is committed.
    #[error("the document is already uploaded")]
    DocumentAlreadyUploaded,
    /// The upload of the document is not complete.
    #[error("the document is not uploaded yet")]
    DocumentNotUploaded,
    /// The session was deleted, or its job was canceled or deleted.
    #[error("{}", ended_session_message(State::Canceled))]
    SessionCanceled,
    /// The session's `expire_time` passed.
    #[error("{}", ended_session_message(State::Expired))]
    SessionExpired,
    /// The session's document is complete.
    #[error("{}", ended_session_message(State::Completed))]
    SessionCompleted,
    /// Every byte of the range is committed already.
    #[error("every byte of the range was received before")]
    RangeAlreadyReceived,
    /// Another writer committed a part of the range first.
    #[error("another range took some of the same bytes first; ask for the missing ranges and send those")]
    RangeRaced,
    /// The range was sent again, with other bytes than the committed ones.
    #[error("the bytes received before have another digest")]
    DigestConflict,
    /// The range took too long.
    #[error("the range was not complete within {} s", .0.as_secs())]
    RangeTimeout(Duration),
    /// The caller of a download did not read for too long.
    #[error("the download was not read for {} s", .0.as_secs())]
    DownloadTimeout(Duration),
    /// The session has as many writers as it may have.
    #[error("the upload session already has {0} writers")]
    TooManyWriters(usize),
    /// No permit is free on this replica, or the caller or tenant has as many as it may.
    #[error(transparent)]
    TooManyTransfers(#[from] permits::Refused),
    /// The document would have more pieces than one of its size may have.
    #[error("the document may have {0} pieces, and would have more with this range; send larger ranges")]
    TooManyFragments(u32),
    /// A limit of the printer, the user, the tenant or the caller is reached.
    #[error("{0}")]
    LimitReached(Reached),
    /// The job was sent with another creator or document.
    #[error("the print job exists with another creator or document, which never change")]
    PrintJobChanged,
    /// The id of a request was used before, with another configuration.
    #[error("request_id: was used before, for a print job with another configuration")]
    RequestIdReused,
    /// The job is canceled.
    #[error("the print job was canceled")]
    PrintJobCanceled,
    /// The job is deleted.
    #[error("the print job was deleted")]
    PrintJobDeleted,
    /// The offset of a download is past the document's end.
    #[error("the offset lies past the document's {0} bytes")]
    OffsetOutOfRange(u64),

    // === Inside the service ===
    /// A call to the database failed.
    #[error("the service cannot reach its database at the moment")]
    Database(#[source] store::Error),
    /// A call to the object store failed.
    #[error("the service cannot use its object store at the moment")]
    Blobs(blobs::Error),
    /// Committed bytes are not in the object store. Holds the name of their object, for the log.
    #[error("bytes of the document are missing")]
    BytesMissing(String),
    /// A bug, or data that the service did not write.
    #[error("internal error")]
    Internal(String),
}

impl Error {
    /// A field has a value that is not allowed. `field` has dots between its parts.
    pub fn invalid_field(field: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self::InvalidField { field: field.into(), problem: problem.into() }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        if error.is_printer_missing() { Self::PrinterNotFound } else { Self::Database(error) }
    }
}

impl From<blobs::Error> for Error {
    fn from(error: blobs::Error) -> Self {
        match error {
            blobs::Error::Missing(object) => Self::BytesMissing(object.to_string()),
            other => Self::Blobs(other),
        }
    }
}

impl From<WriterEnd> for Error {
    fn from(end: WriterEnd) -> Self {
        match end {
            WriterEnd::Session(end) => end.into(),
            WriterEnd::UploadUrlRenewed => Self::UploadUrlRenewed,
        }
    }
}

impl From<End> for Error {
    fn from(end: End) -> Self {
        match end {
            End::Canceled => Self::SessionCanceled,
            End::Expired => Self::SessionExpired,
        }
    }
}
