//! Receives a range with missing bytes into a new object.

use std::sync::Arc;

use tracing::Instrument;
use uuid::Uuid;

use super::Transfer;
use crate::{
    error::Error,
    proto::UploadRangeResponse,
    range::ByteRange,
    rpc::{range_body::RangeBody, task_result},
};

impl Transfer {
    /// Receives the range, and commits these pieces of it.
    pub(super) async fn take(
        self: &Arc<Self>,
        body: RangeBody,
        pieces: Vec<ByteRange>,
    ) -> Result<UploadRangeResponse, Error> {
        let object = Uuid::now_v7();
        let mut fragment = self.app.blobs.begin(self.folder(), object, Arc::clone(&self.permit)).await?;
        let received = body.receive(self.header.range, &pieces, &self.header.digests, Some(&mut fragment)).await;
        let checksums = match received {
            Ok(checksums) => checksums,
            Err(error) => {
                fragment.discard().await;
                return Err(error);
            }
        };
        // In its own task: if the caller hangs up now, the commit is still made, or the object deleted.
        let transfer = Arc::clone(self);
        let commit = async move { transfer.commit(object, fragment, &pieces, &checksums).await };
        task_result(tokio::spawn(commit.in_current_span()).await)
    }
}
