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
        let session = self.app.store.upload_session(self.owned()).await?.ok_or(Error::SessionNotFound)?;
        let document = match session.state {
            State::Active => {
                self.recheck_if_slow(asked).await?;
                None
            }
            State::Completed => {
                let whole = ByteRange::known(0, session.properties.size_bytes);
                let manifest = self.app.store.pieces_of(self.owned(), whole).await?;
                Some(reply::uploaded_document(&session, &manifest)?)
            }
            State::Canceled => return Err(Error::SessionCanceled),
            State::Expired => return Err(Error::SessionExpired),
        };
        Ok(UploadRangeResponse {
            state: reply::state(session.state).into(),
            expire_time: Some(reply::timestamp(session.expire_time)),
            next_expected_ranges: reply::byte_ranges(&session.missing),
            document,
        })
    }

    /// Asks the database once more if it was first asked, at `asked`, more than [`MAX_REPORT_AGE`] ago. Meanwhile
    /// another replica may have acknowledged a cancel, and this replica may not be notified of it yet. Fails if the
    /// session has ended without being completed.
    pub(super) async fn recheck_if_slow(&self, asked: Instant) -> Result<(), Error> {
        if asked.elapsed() <= MAX_REPORT_AGE {
            return Ok(());
        }
        match self.view().await?.state {
            State::Active | State::Completed => Ok(()),
            State::Canceled => Err(Error::SessionCanceled),
            State::Expired => Err(Error::SessionExpired),
        }
    }
}

impl From<Committed> for UploadRangeResponse {
    fn from(committed: Committed) -> Self {
        Self {
            state: reply::state(committed.state).into(),
            expire_time: Some(reply::timestamp(committed.expire_time)),
            next_expected_ranges: reply::byte_ranges(&committed.missing),
            document: None,
        }
    }
}
