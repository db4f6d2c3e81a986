//! What `UploadRange` receives: one header, then exactly the range's bytes.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use print_upload_client::MAX_CHUNK_BYTES;
use tonic::{Code, Status, Streaming};

use crate::{
    blobs::Fragment,
    error::{Error, StreamProblem},
    proto::{RangeHeader, UploadRangeRequest, upload_range_request::Content},
    range::{ByteRange, PieceChecksums},
    range_bytes::RangeStream,
};

const CHUNK_TOO_LARGE: StreamProblem = StreamProblem::ChunkTooLarge(MAX_CHUNK_BYTES);

/// A header, and the bytes after it.
pub(super) struct RangeBody {
    messages: Streaming<UploadRangeRequest>,
    /// The bytes, if the gateway in this process has handed them over. Then the header is the only message.
    handed_over: Option<RangeStream>,
}

/// The digests that the caller sent, if any.
#[derive(Debug, Clone, Default)]
pub(super) struct Digests {
    /// CRC32C of the range.
    pub(super) crc32c: Option<u32>,
    /// SHA-256 of the range.
    pub(super) sha256: Option<Vec<u8>>,
}

impl RangeBody {
    pub(super) fn new(messages: Streaming<UploadRangeRequest>, handed_over: Option<RangeStream>) -> Self {
        Self { messages, handed_over }
    }

    /// The first message, which must be the header.
    pub(super) async fn header(&mut self) -> Result<RangeHeader, Error> {
        match self.next_message().await? {
            Some(Content::Header(header)) => Ok(header),
            _ => Err(StreamProblem::NoHeader.into()),
        }
    }

    /// Reads all chunks, writes them to `fragment`, and returns the checksums of the range and of its pieces. Fails
    /// unless the body is exactly as long as the range and has these digests.
    pub(super) async fn receive(
        mut self,
        range: ByteRange,
        pieces: &[ByteRange],
        digests: &Digests,
        mut fragment: Option<&mut Fragment>,
    ) -> Result<PieceChecksums, Error> {
        let mut checksums = PieceChecksums::new(range, pieces);
        let mut sha256 = digests.sha256.as_ref().map(|_| Context::new(&SHA256));
        let (expected, mut received) = (range.len(), 0);
        while let Some(chunk) = self.next_chunk().await? {
            received += chunk.len() as u64;
            if received > expected {
                return Err(Error::BodyTooLong { expected, received });
            }
            checksums.update(&chunk);
            if let Some(sha256) = &mut sha256 {
                sha256.update(&chunk);
            }
            if let Some(fragment) = &mut fragment {
                fragment.write(chunk).await?;
            }
        }
        if received < expected {
            return Err(Error::BodyTooShort { expected, received });
        }
        if digests.crc32c.is_some_and(|crc32c| crc32c != checksums.of_range()) {
            return Err(Error::DigestMismatch("CRC32C"));
        }
        if digests.sha256 != sha256.map(|sha256| sha256.finish().as_ref().to_vec()) {
            return Err(Error::DigestMismatch("SHA-256"));
        }
        Ok(checksums)
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(bytes) = &mut self.handed_over {
            return Ok(bytes.next().await);
        }
        match self.next_message().await? {
            Some(Content::Chunk(chunk)) if chunk.len() <= MAX_CHUNK_BYTES => Ok(Some(chunk)),
            Some(Content::Chunk(_)) => Err(CHUNK_TOO_LARGE.into()),
            Some(Content::Header(_)) => Err(StreamProblem::HeaderRepeated.into()),
            None => Ok(None),
        }
    }

    async fn next_message(&mut self) -> Result<Option<Content>, Error> {
        let Some(message) = self.messages.message().await.map_err(|status| broken_stream(&status))? else {
            return Ok(None);
        };
        Ok(Some(message.content.ok_or(StreamProblem::NoContent)?))
    }
}

impl Digests {
    /// Whether the caller sent a digest.
    pub(super) fn any(&self) -> bool {
        self.crc32c.is_some() || self.sha256.is_some()
    }
}

/// Translates tonic's error for a request that breaks off or cannot be decoded.
fn broken_stream(status: &Status) -> StreamProblem {
    match status.code() {
        Code::OutOfRange => CHUNK_TOO_LARGE,
        _ => StreamProblem::Broken,
    }
}
