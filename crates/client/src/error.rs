//! How calls and transfers fail.

use std::io;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    proto::{Reason, upload_session::State},
    reason::reason_name,
    retry::retry_delay,
};

/// Why a call or a transfer has failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service refused the call or could not be reached. Retries, where one may help, have failed as well.
    #[error("{}", .0.message())]
    Call(#[from] Status),
    /// The file cannot be read or uploaded.
    #[error("{file}: {problem}")]
    File {
        /// Which file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file has changed since the upload began. The upload stops: cancel the session to start again.
    #[error("{file} was changed while it was uploaded")]
    Changed {
        /// Which file.
        file: String,
    },
    /// The session has other bytes than the file, so the upload stops: cancel the session to start again.
    #[error(
        "the upload session holds other bytes than {file}: it was started with another file, or this file has changed; \
         cancel it, and start again"
    )]
    OtherBytes {
        /// Which file.
        file: String,
    },
    /// The file does not have the size that was given when the session was created.
    #[error("the upload session expects {session} bytes, but the file has {file}")]
    OtherSize {
        /// The session's size in bytes.
        session: u64,
        /// The file's.
        file: u64,
    },
    /// The session ended before it was complete.
    #[error("the upload session has ended: {}", state_name(*.0))]
    Ended(State),
    /// The service's document and the local bytes have different checksums.
    #[error("the service's document has the CRC32C {}, the local bytes have {local:08x}", crc32c_text(*.service))]
    DigestMismatch {
        /// The CRC32C of the service's document.
        service: Option<u32>,
        /// The CRC32C of the uploaded file, or of the downloaded bytes.
        local: u32,
    },
    /// What was downloaded cannot be written.
    #[error("writing what was downloaded: {0}")]
    Output(#[source] io::Error),
    /// A task of the client has panicked, or a number is out of range.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// The gRPC code, when a call has failed.
    pub fn code(&self) -> Option<Code> {
        if let Self::Call(status) = self { Some(status.code()) } else { None }
    }

    /// The reason that the service gave; `Unspecified` when this version does not know its name.
    pub fn reason(&self) -> Option<Reason> {
        if let Self::Call(status) = self { Reason::of(status) } else { None }
    }

    /// The name of the reason that the service gave, also one that this version does not know.
    pub fn reason_name(&self) -> Option<String> {
        if let Self::Call(status) = self { reason_name(status) } else { None }
    }

    /// Whether a retry may succeed: the service could not be reached or was too busy, a range lost a race, or the
    /// outcome of the call is unknown. The call may then have taken effect: retry it only if it may be repeated.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Call(status) if retry_delay(status).is_some())
    }

    /// Whether the caller's credential is not valid, or no longer: an access token that has expired, for example.
    pub fn is_credential_invalid(&self) -> bool {
        self.code() == Some(Code::Unauthenticated)
    }

    /// Whether the caller's token lacks the permission for such calls.
    pub fn is_permission_missing(&self) -> bool {
        self.code() == Some(Code::PermissionDenied) && self.reason() == Some(Reason::PermissionMissing)
    }
}

/// A number in the metadata of a status' `ErrorInfo`.
pub(super) fn limit(status: &Status, key: &str) -> Option<u64> {
    status.get_details_error_info()?.metadata.get(key)?.parse().ok()
}

fn crc32c_text(crc32c: Option<u32>) -> String {
    crc32c.map_or_else(|| "none".to_owned(), |crc32c| format!("{crc32c:08x}"))
}

/// `ACTIVE`, `COMPLETED`, `CANCELED` or `EXPIRED`.
pub fn state_name(state: State) -> &'static str {
    state.as_str_name().trim_start_matches("STATE_")
}
