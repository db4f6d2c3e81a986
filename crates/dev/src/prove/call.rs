//! The calls that are made on a document, and their outcomes, the same over gRPC and over REST.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use print_upload_client::Reason;
use uuid::Uuid;

use super::{
    model::{CELLS, Content, Micros},
    session::State,
};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The user who created the job.
    Creator,
    /// Another user of the tenant, who may use all jobs.
    Other,
    /// An application that may use all jobs.
    Application,
}

impl Actor {
    pub const ALL: [Self; 3] = [Self::Creator, Self::Other, Self::Application];
}

/// A call on one document.
#[derive(Debug, Clone)]
pub enum Call {
    Create {
        by: Actor,
        /// Sessions of different variants have different properties.
        variant: u8,
    },
    /// A range, sent to a session by its owner or with its upload URL.
    Send {
        session: Uuid,
        cells: Range<usize>,
        content: Content,
        has_digest: bool,
    },
    Get {
        by: Actor,
        target: Target,
    },
    Delete {
        by: Actor,
        target: Target,
    },
    /// The job's creator cancels it.
    CancelJob,
    /// The catalog deletes the job.
    DeleteJob,
    Download,
}

/// How a session is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `uploadSessions/{id}`, or its upload URL.
    Id(Uuid),
    /// `{document}/uploadSession`.
    Name,
}

/// What a call returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Session(Seen),
    Progress(Progress),
    Done,
    /// The downloaded document, a content for each cell.
    Content([Content; CELLS]),
    Refused(Reason),
    /// It did nothing, and its answer depends on more than the document: a limit was reached, for example.
    Nothing,
    /// Nobody knows whether it took effect.
    Unknown,
}

/// A session in an answer. One that has ended has no progress: nothing is missing, and its expiry means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub id: Option<Uuid>,
    pub state: State,
    pub progress: Progress,
}

/// How far a session is, in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub is_completed: bool,
    pub missing: [bool; CELLS],
    /// When the session expires.
    pub expiry: Micros,
}

/// A range as it is sent.
#[derive(Debug, Clone)]
pub struct SentRange {
    pub session: Uuid,
    pub cells: Range<usize>,
    pub bytes: Bytes,
    pub has_digest: bool,
    /// How long it stalls in the middle.
    pub stall: Duration,
}

impl Seen {
    /// A session that has ended.
    pub fn ended(id: Option<Uuid>, state: State) -> Self {
        let is_completed = state == State::Completed;
        Self { id, state, progress: Progress { is_completed, missing: [false; CELLS], expiry: 0 } }
    }
}

impl Outcome {
    /// The outcome of a call that was refused. Of some failures nobody knows whether the call took effect.
    pub fn refused(reason: Reason) -> Self {
        match reason {
            Reason::DatabaseUnavailable
            | Reason::StoreUnavailable
            | Reason::ServiceUnreachable
            | Reason::IssuerKeysUnavailable
            | Reason::StreamBroken
            | Reason::FirstMessageBroken
            | Reason::FirstMessageTimeout
            | Reason::RangeTimeout
            | Reason::RangeLengthMismatch
            | Reason::BodyTimeout
            | Reason::DownloadTimeout => Self::Unknown,
            Reason::TooManyWriters
            | Reason::TooManyTransfers
            | Reason::StoreFull
            | Reason::LimitReached
            | Reason::TooManyRequests => Self::Nothing,
            reason => Self::Refused(reason),
        }
    }
}
