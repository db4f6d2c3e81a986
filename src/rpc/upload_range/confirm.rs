//! Confirms a repeated range: it is acknowledged once more if it has the bytes that are committed.

use aws_lc_rs::digest::{Context, SHA256};

use super::Transfer;
use crate::{
    blobs,
    error::Error,
    proto::UploadRangeResponse,
    rpc::{range_body::RangeBody, slices::slices},
    session::Expected,
};

impl Transfer {
    /// Receives the range once more without storing it, and compares it with the committed bytes.
    pub(super) async fn confirm(&self, body: RangeBody, expected: Expected) -> Result<UploadRangeResponse, Error> {
        let digests = &self.header.digests;
        match body.receive(self.header.range, &[], digests, None).await {
            Ok(checksums) => self.compare(expected, checksums.of_range()).await,
            // No bytes: the client no longer has them, and asks whether this range completed the document.
            Err(Error::BodyTooShort { received: 0, .. })
                if matches!(expected, Expected::Completing(_)) && !digests.any() =>
            {
                self.current_response().await
            }
            Err(error) => Err(error),
        }
    }

    /// Compares the received range, by its digests, with the committed bytes. Acknowledges it if they are the same.
    pub(super) async fn compare(&self, expected: Expected, crc32c: u32) -> Result<UploadRangeResponse, Error> {
        match expected {
            Expected::Completing(completing) if crc32c != completing => Err(Error::SessionCompleted),
            Expected::Committed if !self.is_committed(crc32c).await? => Err(Error::DigestConflict),
            Expected::Completing(_) | Expected::Committed => self.current_response().await,
        }
    }

    /// Reads the committed bytes of the range, and compares their digests with those of the received bytes.
    async fn is_committed(&self, received_crc32c: u32) -> Result<bool, Error> {
        let received_sha256 = &self.header.digests.sha256;
        let mut crc32c = 0;
        let mut sha256 = received_sha256.as_ref().map(|_| Context::new(&SHA256));
        let pieces = self.app.store.pieces_of(self.owned(), self.header.range).await?;
        let range = self.header.range.start()..self.header.range.end();
        for slice in pieces.iter().flat_map(|stored| slices(stored, range.clone())) {
            let bytes = match self.app.blobs.read(self.folder(), slice.object, slice.bytes).await {
                Err(error @ blobs::Error::Missing(_)) => return Err(self.explain_store_failure(error).await),
                read => read?,
            };
            crc32c = crc32c::crc32c_append(crc32c, &bytes);
            if let Some(sha256) = &mut sha256 {
                sha256.update(&bytes);
            }
        }
        let sha256 = sha256.map(|sha256| sha256.finish().as_ref().to_vec());
        Ok(crc32c == received_crc32c && sha256 == *received_sha256)
    }
}
