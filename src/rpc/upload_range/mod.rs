//! `UploadRange`: header → register → view → plan → take or confirm. What is taken is committed; if the commit changes
//! nothing, one more view explains why.
//!
//! No transaction is open while bytes arrive. Whatever happens before, the commit decides: the database takes exactly
//! the planned pieces, or nothing.
//!
//! Three limits of time work together:
//! - The range timeout runs from the header. After it, the caller gets an error, no put begins, and no commit begins. A
//!   commit that has begun goes on in its own task.
//! - A put that has begun is limited by `blobs::PUT_TIMEOUT` alone, and the rename of a local file by nothing: stopping
//!   them would not keep the object from appearing. Reclaiming makes its last pass only after the range timeout and
//!   `PUT_TIMEOUT`.
//! - If the database takes longer than 50 ms (`MAX_REPORT_AGE`) to report an active session, the report may be out of
//!   date. Then the database is asked once more before the caller gets a response.

mod commit;
mod confirm;
mod explain;
mod response;
mod take;

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::{range_body::RangeBody, range_header::Header};
use crate::{
    app_state::AppState,
    blobs::Folder,
    error::Error,
    permits::Permit,
    proto::UploadRangeResponse,
    session::{self, OwnedSession, Plan, RangeRequest, RangeView},
    writers::Writer,
};

/// A range that is being received. Shared with the task that commits it, which may outlive the call.
struct Transfer {
    app: Arc<AppState>,
    request_id: String,
    header: Header,
    /// When the range times out. A commit that has begun by then still goes on, but its caller gets an error.
    deadline: Instant,
    writer: Writer,
    /// Kept until nothing of the range is left to do, also if its caller has hung up.
    permit: Arc<Permit>,
}

/// Receives one range of the session, and commits or confirms it.
pub async fn upload_range(
    app: Arc<AppState>,
    owned: OwnedSession,
    permit: Arc<Permit>,
    request_id: String,
    mut body: RangeBody,
) -> Result<UploadRangeResponse, Error> {
    let header = Header::parse(&body.header().await?, app.limits.max_range_bytes)?;
    let deadline = Instant::now() + app.limits.range_timeout;
    let writer = app.writers.register(owned).ok_or(Error::TooManyWriters(app.writers.limit()))?;
    let transfer = Arc::new(Transfer { app, request_id, header, deadline, writer, permit });
    let response = tokio::select! {
        biased;
        end = transfer.writer.wait_for_end() => return Err(end.into()),
        () = sleep_until(deadline) => return Err(transfer.timed_out()),
        response = transfer.run(body) => response?,
    };
    // The range may have been committed before the session ended. But its bytes are dropped with the session, so it
    // must not be acknowledged any more.
    match transfer.writer.end() {
        Some(end) => Err(end.into()),
        None => {
            crash_point!("range.answering");
            Ok(response)
        }
    }
}

impl Transfer {
    async fn run(self: &Arc<Self>, body: RangeBody) -> Result<UploadRangeResponse, Error> {
        let response = match self.plan(self.view().await?) {
            Plan::Take(pieces) => self.take(body, pieces).await,
            Plan::Confirm(expected) => self.confirm(body, expected).await,
            Plan::Refuse(refusal) => Err(self.refused(refusal)),
        };
        match response {
            Err(Error::Blobs(error)) => Err(self.explain_store_failure(error).await),
            response => response,
        }
    }

    fn plan(&self, view: RangeView) -> Plan {
        let Header { range, total, digests } = &self.header;
        let request = RangeRequest { range: *range, total: *total, has_digest: digests.any() };
        session::plan(view, request, self.app.limits.max_fragments)
    }

    /// The session as this range sees it now.
    async fn view(&self) -> Result<RangeView, Error> {
        self.app.range_view(&self.writer, self.header.range).await?.ok_or(Error::SessionNotFound)
    }

    fn owned(&self) -> &OwnedSession {
        self.writer.session()
    }

    fn folder(&self) -> Folder {
        Folder { tenant: self.owned().tenant(), session: self.owned().id() }
    }
}
