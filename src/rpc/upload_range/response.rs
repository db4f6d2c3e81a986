//! The response to a range: the session as it is afterwards.

use std::time::Duration;

use tokio::time::Instant;

use super::Transfer;
use crate::{error::Error, proto::UploadRangeResponse, range::ByteRange, rpc::reply, session::State, store::Committed};

/// How old the database's report of an active session may be when the caller gets the response.
const MAX_REPORT_AGE: Duration = Duration::from_millis(50);

impl Transfer {
    /// The session as it is now.
    pub(super) async fn current_response(&self) -> Result<UploadRangeResponse, Error> {
        let asked = Instant::now();
        let session = self.app.upload_session(self.owned()).await?.ok_or(Error::SessionNotFound)?;
        if let Some(end) = session.state.end() {
            return Err(end.into());
        }
        let document = if session.state == State::Completed {
            let whole = ByteRange::known(0, session.properties.size_bytes);
            let manifest = self.app.store.pieces_of(self.owned(), whole).await?;
            Some(reply::uploaded_document(&session, &manifest)?)
        } else {
            self.recheck_if_slow(asked).await?;
            None
        };
        Ok(UploadRangeResponse {
            state: reply::state(session.state).into(),
            expire_time: Some(reply::timestamp(session.expire_time)),
            next_expected_ranges: reply::byte_ranges(&session.missing),
            document,
            limits: None,
        })
    }

    /// Asks the database once more if it was first asked, at `asked`, more than [`MAX_REPORT_AGE`] ago. Meanwhile
    /// another replica may have acknowledged a cancel, and this replica may not be notified of it yet. Fails if the
    /// session has ended without being completed.
    pub(super) async fn recheck_if_slow(&self, asked: Instant) -> Result<(), Error> {
        if asked.elapsed() <= MAX_REPORT_AGE {
            return Ok(());
        }
        self.view().await?.state.end().map_or(Ok(()), |end| Err(end.into()))
    }
}

impl From<Committed> for UploadRangeResponse {
    fn from(committed: Committed) -> Self {
        Self {
            state: reply::state(committed.state).into(),
            expire_time: Some(reply::timestamp(committed.expire_time)),
            next_expected_ranges: reply::byte_ranges(&committed.missing),
            document: None,
            limits: None,
        }
    }
}
