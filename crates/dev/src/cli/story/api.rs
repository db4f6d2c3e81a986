//! What both doors do, as one caller sees it.

use std::{fmt, ops::Range};

use bytes::Bytes;

/// What came back: a value or a refusal; an error only if there was no answer that makes sense.
pub(super) type Answer<T> = anyhow::Result<Result<T, Refusal>>;

/// Why a door says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The door's own code: gRPC's name, or HTTP's number.
    pub code: String,
    /// The reason, the same at both doors.
    pub reason: String,
}

/// A session as one door names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// Its id.
    pub id: String,
    /// Its name over gRPC, its upload URL over REST.
    pub handle: String,
}

/// A way into the stack. Who calls is the `token`; none when it is empty.
pub(super) trait Door {
    /// What the door is called.
    const NAME: &'static str;

    /// Its code for a late range.
    const CONFLICT: &'static str;

    /// Its code for somebody who may not.
    const FORBIDDEN: &'static str;

    /// Its code for what is not there.
    const NOT_FOUND: &'static str;

    /// Its code for a caller who shows nothing.
    const UNAUTHENTICATED: &'static str;

    /// Its code for deleting what is complete.
    const TOO_LATE: &'static str;

    /// Creates the upload session of a document.
    async fn create(&self, token: &str, document: &str) -> Answer<Session>;

    /// Sends a range; answers whether the document is complete now.
    async fn send(&self, token: &str, session: &Session, range: Range<usize>) -> Answer<bool>;

    /// The ranges that are still missing.
    async fn missing(&self, token: &str, document: &str) -> Answer<Vec<Range<usize>>>;

    /// Deletes the upload session of a document.
    async fn delete(&self, token: &str, document: &str) -> Answer<()>;

    /// Downloads a document.
    async fn download(&self, token: &str, document: &str) -> Answer<Bytes>;
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.reason)
    }
}
