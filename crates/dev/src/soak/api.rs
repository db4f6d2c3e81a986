//! The calls of the load, the same over gRPC and over REST.

use std::{error::Error, fmt, ops::Range};

use bytes::Bytes;
use print_upload_client::{Reason, code_name, proto::upload_session::State};
use tonic::Status;

/// The media type of every document.
pub const CONTENT_TYPE: &str = "application/pdf";
/// The name of every document.
pub const DOCUMENT_NAME: &str = "poster.pdf";

/// A print job with its document.
#[derive(Debug, Clone)]
pub struct Job {
    pub name: String,
    pub document: String,
}

/// An upload session.
#[derive(Debug)]
pub struct Session {
    pub id: String,
    /// Its name over gRPC, its upload URL over REST.
    pub handle: String,
    pub state: State,
    pub missing: Vec<Range<usize>>,
    /// The size of the document.
    pub total: usize,
}

/// Why a call has failed.
#[derive(Debug)]
pub enum Failed {
    /// The service has refused it.
    Refused { reason: Reason, code: String },
    /// There was no answer, or one that asks for a retry. Nobody knows whether the call took effect.
    Broken(String),
}

/// One caller's calls to one replica.
pub trait Api: Sized {
    /// The transport's name.
    const NAME: &'static str;

    /// The same transport with another token, or without one.
    fn with_token(&self, token: Option<&str>) -> anyhow::Result<Self>;

    /// Creates a job. The same request id leads to the same job.
    async fn create_job(&self, printer: &str, request_id: &str) -> Result<Job, Failed>;
    async fn start_job(&self, job: &str) -> Result<(), Failed>;
    async fn cancel_job(&self, job: &str) -> Result<(), Failed>;

    async fn create(&self, document: &str, size: usize) -> Result<Session, Failed>;
    /// Sends a range. Returns whether the document is complete now.
    async fn send(&self, session: &Session, range: Range<usize>, bytes: Bytes) -> Result<bool, Failed>;
    /// Begins to send a range, and hangs up in its middle.
    async fn hang_up(&self, session: &Session, range: Range<usize>, half: Bytes) -> Result<(), Failed>;
    async fn get(&self, document: &str) -> Result<Session, Failed>;
    async fn delete(&self, document: &str) -> Result<(), Failed>;
    async fn download(&self, document: &str) -> Result<Vec<u8>, Failed>;
}

impl Failed {
    /// An error without a reason is the transport's.
    pub fn of(status: &Status) -> Self {
        match Reason::of(status) {
            Some(reason) => Self::refused(reason, code_name(status.code()).into()),
            None => Self::Broken(format!("{}: {}", code_name(status.code()), status.message())),
        }
    }

    pub fn refused(reason: Reason, code: String) -> Self {
        match reason {
            Reason::DatabaseUnavailable
            | Reason::StoreUnavailable
            | Reason::ServiceUnreachable
            | Reason::IssuerKeysUnavailable
            | Reason::RangeRaced => Self::Broken(reason.wire_name().into()),
            reason => Self::Refused { reason, code },
        }
    }

    /// Why the service has refused the call.
    pub fn reason(&self) -> Option<Reason> {
        if let Self::Refused { reason, .. } = self { Some(*reason) } else { None }
    }

    /// Whether a limit was reached: the call may be made again later.
    pub fn is_limit(&self) -> bool {
        let limits = [Reason::LimitReached, Reason::TooManyRequests, Reason::TooManyTransfers, Reason::TooManyWriters];
        self.reason().is_some_and(|reason| limits.contains(&reason))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reason, code } => write!(f, "{code} {}", reason.wire_name()),
            Self::Broken(text) => f.write_str(text),
        }
    }
}

impl Error for Failed {}
