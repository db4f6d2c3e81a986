//! Finds out why a range was not committed, or why committed bytes are missing.

use super::Transfer;
use crate::{
    blobs,
    error::Error,
    proto::UploadRangeResponse,
    range::ByteRange,
    session::{Plan, Refusal, State},
};

impl Transfer {
    /// The error of a refused range.
    pub(super) fn refused(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Ended(end) => end.into(),
            Refusal::Completed => Error::SessionCompleted,
            Refusal::WrongTotal { size_bytes } => {
                let problem = format!("must be the document's size, {size_bytes}");
                Error::invalid_field("header.total", problem)
            }
            Refusal::AlreadyReceived => Error::RangeAlreadyReceived,
            Refusal::TooManyFragments { limit } => Error::TooManyFragments(limit),
        }
    }

    /// The commit changed nothing: one more read finds out why. If other writers have committed the same bytes, the
    /// range is acknowledged. `crc32c` is that of the received range.
    pub(super) async fn explain(&self, planned: &[ByteRange], crc32c: u32) -> Result<UploadRangeResponse, Error> {
        let view = self.view().await?;
        let is_raced = view.missing != planned;
        match self.plan(view) {
            Plan::Take(_) => Err(Error::RangeRaced),
            // Another writer committed some of the pieces, and fewer may be left: the caller must get the session
            // first.
            Plan::Refuse(Refusal::TooManyFragments { .. }) if is_raced => Err(Error::RangeRaced),
            Plan::Refuse(refusal) => Err(self.refused(refusal)),
            Plan::Confirm(expected) => self.compare(expected, crc32c).await,
        }
    }

    /// The store has failed, or committed bytes are missing. If the session has ended meanwhile, that is the cause: its
    /// bytes are dropped, staged files included, also by another replica, before this writer is notified.
    pub(super) async fn explain_store_failure(&self, error: blobs::Error) -> Error {
        match self.view().await {
            Ok(view) => match view.state.end() {
                Some(end) => end.into(),
                None if view.state == State::Completed => Error::SessionCompleted,
                None => error.into(),
            },
            // As long as the session cannot be read, nobody knows whether missing bytes are lost.
            Err(Error::Database(_)) if !matches!(error, blobs::Error::Missing(_)) => error.into(),
            Err(unknown) => unknown,
        }
    }

    pub(super) fn timed_out(&self) -> Error {
        Error::RangeTimeout(self.app.limits.range_timeout)
    }
}
