//! The response to a range: the session as it is afterwards.

use std::time::Duration;

use tokio::time::Instant;

use super::Transfer;
use crate::{error::Error, proto::UploadRangeResponse, range::ByteRange, rpc::reply, session::State, store::Committed};

/// How old the report of an active session may be when the caller gets it.
const PROMPT: Duration = Duration::from_millis(50);

impl Transfer {
    /// The session as it is now.
    pub(super) async fn current_response(&self) -> Result<UploadRangeResponse, Error> {
        let asked = Instant::now();
        let session = self.app.store.upload_session(self.owned()).await?.ok_or(Error::SessionNotFound)?;
        let document = match session.state {
            State::Active => {
                self.expect_no_end_since(asked).await?;
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

    /// Asks the database once more if its report, asked for at `asked`, took longer than [`PROMPT`]. Meanwhile another
    /// replica may have acknowledged a cancel, and this replica may not be notified of it yet.
    pub(super) async fn expect_no_end_since(&self, asked: Instant) -> Result<(), Error> {
        if asked.elapsed() <= PROMPT {
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
