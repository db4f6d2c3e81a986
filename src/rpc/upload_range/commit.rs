//! Makes a received range durable and commits it.

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::Transfer;
use crate::{
    blobs::Fragment,
    error::Error,
    proto::UploadRangeResponse,
    range::{ByteRange, PieceChecksums},
    session::State,
    store::NewRange,
};

impl Transfer {
    /// Publishes the object, then commits exactly the planned pieces or nothing.
    pub(super) async fn commit(
        &self,
        object: Uuid,
        mut fragment: Fragment,
        planned: &[ByteRange],
        checksums: &PieceChecksums,
    ) -> Result<UploadRangeResponse, Error> {
        if let Err(error) = self.prepare(&mut fragment).await {
            fragment.discard().await;
            return Err(error);
        }
        if let Err(error) = fragment.publish().await {
            // In its own task: a store that failed to put the object may also fail to delete it, and the caller should
            // not wait.
            tokio::spawn(fragment.discard());
            return Err(error.into());
        }
        if Instant::now() >= self.deadline {
            fragment.discard().await;
            return Err(self.timed_out());
        }
        let crc32c = checksums.of_range();
        let new = NewRange { range: self.header.range, crc32c, object, pieces: checksums.of_pieces() };
        let asked = Instant::now();
        // If this fails, the database may still have committed the range. So the object stays, and reclaiming drops it
        // unless the manifest holds it.
        let Some(committed) = self.app.store.commit_range(self.owned(), &new, &self.request_id).await? else {
            fragment.discard().await;
            return self.explain(planned, crc32c).await;
        };
        if committed.state == State::Completed {
            crash_point!("document.completed");
            return self.current_response().await;
        }
        self.recheck_if_slow(asked).await?;
        Ok(committed.into())
    }

    /// Prepares the put, which may have to wait for other puts. After the session has ended or the range has timed out,
    /// no put may begin.
    async fn prepare(&self, fragment: &mut Fragment) -> Result<(), Error> {
        tokio::select! {
            biased;
            end = self.writer.wait_for_end() => Err(end.into()),
            () = sleep_until(self.deadline) => Err(self.timed_out()),
            prepared = fragment.prepare() => Ok(prepared?),
        }
    }
}
