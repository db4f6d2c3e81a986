//! The calls of the story, over either transport.

use std::{error::Error, fmt, ops::Range};

use bytes::Bytes;
use print_upload_client::Reason;

/// Who calls.
#[derive(Debug)]
pub(in crate::cli) struct Caller {
    pub name: &'static str,
    pub token: Option<String>,
}

/// An upload session.
#[derive(Debug)]
pub(in crate::cli) struct Session {
    pub id: String,
    /// Its name over gRPC, its upload URL over REST.
    pub handle: String,
    pub missing: Vec<Range<usize>>,
    /// Whether its owner has canceled it.
    pub is_canceled: bool,
}

/// The error of a call that the service has refused.
#[derive(Debug)]
pub(in crate::cli) struct Refusal {
    /// The name of gRPC's code, or the HTTP status.
    pub code: String,
    /// The same over both transports.
    pub reason: String,
}

/// A refusal, as each transport expresses it.
pub(in crate::cli) struct Expected {
    pub grpc: &'static str,
    pub rest: &'static str,
    pub reason: Reason,
}

/// The service over one transport. A call fails with a [`Refusal`] when the service has refused it.
pub(in crate::cli) trait Api {
    /// The transport's name.
    const NAME: &'static str;

    /// The transport's code of a refusal.
    fn code(expected: &Expected) -> &'static str;

    /// Creates the upload session of a document.
    async fn create(&self, caller: &Caller, document: &str) -> anyhow::Result<Session>;

    /// Sends a range. Returns whether the document is complete now.
    async fn send(&self, caller: &Caller, session: &Session, range: Range<usize>) -> anyhow::Result<bool>;

    /// Gets the upload session of a document.
    async fn get(&self, caller: &Caller, document: &str) -> anyhow::Result<Session>;

    /// Deletes the upload session of a document.
    async fn delete(&self, caller: &Caller, document: &str) -> anyhow::Result<()>;

    /// Downloads a document.
    async fn download(&self, caller: &Caller, document: &str) -> anyhow::Result<Bytes>;
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.reason)
    }
}

impl Error for Refusal {}
