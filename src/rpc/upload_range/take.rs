//! Receives a range that has new bytes into an object of its own.

use std::sync::Arc;

use tracing::Instrument;
use uuid::Uuid;

use super::Transfer;
use crate::{
    error::Error,
    guard::RangePermit,
    proto::UploadRangeResponse,
    range::ByteRange,
    rpc::{finished, range_body::RangeBody},
};

impl Transfer {
    /// Receives the range, and commits these pieces of it.
    pub(super) async fn take(
        self: &Arc<Self>,
        body: RangeBody,
        pieces: Vec<ByteRange>,
        permit: RangePermit,
    ) -> Result<UploadRangeResponse, Error> {
        let object = Uuid::now_v7();
        let mut fragment = self.app.blobs.begin(self.folder(), object).await?;
        let received = body.receive(self.header.range, &pieces, &self.header.digests, Some(&mut fragment)).await;
        let checksums = match received {
            Ok(checksums) => checksums,
            Err(error) => {
                fragment.discard().await;
                return Err(error);
            }
        };
        // In a task of its own: a caller that hangs up now leaves neither half a commit nor an object that nobody deletes.
        let transfer = Arc::clone(self);
        let commit = async move {
            let response = transfer.commit(object, fragment, &pieces, &checksums).await;
            permit.release();
            response
        };
        finished(tokio::spawn(commit.in_current_span()).await)
    }
}
