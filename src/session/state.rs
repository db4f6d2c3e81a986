//! The states of an upload session, and the session as its owner sees it.

use std::time::SystemTime;

use super::Principal;
use crate::{
    name::{DocumentName, SessionId},
    range::ByteRange,
};

/// The state of an upload. Every state except `Active` is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Ranges are accepted.
    Active,
    /// Every byte was received.
    Completed,
    /// It was deleted, or its job was canceled or deleted.
    Canceled,
    /// It was not completed in time.
    Expired,
}

impl State {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "active" => Some(Self::Active),
            "completed" => Some(Self::Completed),
            "canceled" => Some(Self::Canceled),
            "expired" => Some(Self::Expired),
            _ => None,
        }
    }

    /// How the session has ended, if it has ended without being completed.
    pub fn end(self) -> Option<End> {
        match self {
            Self::Canceled => Some(End::Canceled),
            Self::Expired => Some(End::Expired),
            Self::Active | Self::Completed => None,
        }
    }
}

/// The end of a session that was not completed. A completed session has ended as well, but its writers are not
/// notified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Deleted, or its job was canceled or deleted.
    Canceled,
    /// Its `expire_time` passed.
    Expired,
}

/// Why a writer ends before its range is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriterEnd {
    /// Its session has ended.
    Session(End),
    /// The upload URL that it came with was renewed.
    UploadUrlRenewed,
}

/// Why a session has ended, as its row stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The last missing byte was committed.
    UploadCompleted,
    /// It was deleted: DeleteUploadSession.
    Deleted,
    /// Its print job was deleted.
    PrintJobDeleted,
    /// Its print job was canceled.
    PrintJobCanceled,
    /// Its `expire_time` passed.
    Expired,
}

impl EndReason {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "upload-completed" => Some(Self::UploadCompleted),
            "deleted" => Some(Self::Deleted),
            "print-job-deleted" => Some(Self::PrintJobDeleted),
            "print-job-canceled" => Some(Self::PrintJobCanceled),
            "expired" => Some(Self::Expired),
            _ => None,
        }
    }
}

/// The properties of the document, as the session's creator declared them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    /// The document's name for people.
    pub document_name: String,
    pub content_type: String,
    /// Its exact size, in bytes.
    pub size_bytes: u64,
}

/// An upload session as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadSession {
    pub id: SessionId,
    /// The document, by its printer.
    pub document: DocumentName,
    /// The user or application that created the session.
    pub owner: Principal,
    /// The properties of the document.
    pub properties: Properties,
    /// Its state.
    pub state: State,
    /// Whether it is active and past its expiry. A range that is committing at this moment may still prolong it, so it
    /// must be ended before it is reported as expired.
    pub is_overdue: bool,
    /// The missing bytes, ascending. Empty unless active.
    pub missing: Vec<ByteRange>,
    /// How many bytes are committed.
    pub received_bytes: u64,
    pub create_time: SystemTime,
    /// When it expires unless a range is committed before.
    pub expire_time: SystemTime,
    /// The hard cap of `expire_time`.
    pub expire_limit: SystemTime,
    pub end_time: Option<SystemTime>,
    /// The user or application that ended it.
    pub ended_by: Option<Principal>,
    pub end_reason: Option<EndReason>,
    /// How often its upload URL was renewed.
    pub url_generation: u32,
}
