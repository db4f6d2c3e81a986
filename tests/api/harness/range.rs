//! Ranges: their bytes, headers and digests.

use std::ops::Range;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use print_upload::proto::{ByteRange, RangeHeader, UploadRangeRequest, UploadSession, upload_range_request::Content};

/// Which digests a range is sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    None,
    Crc32c,
    Sha256,
    Both,
}

impl Digest {
    /// The header with the digests of `bytes`.
    pub fn put_on(self, header: RangeHeader, bytes: &[u8]) -> RangeHeader {
        let crc32c = matches!(self, Self::Crc32c | Self::Both).then(|| crc32c(bytes));
        let sha256 = if matches!(self, Self::Sha256 | Self::Both) { sha256(bytes) } else { Bytes::new() };
        RangeHeader { crc32c, sha256, ..header }
    }
}

/// The header of a range, without digests.
pub fn header(session: &UploadSession, range: Range<usize>) -> RangeHeader {
    RangeHeader {
        name: session.name.clone(),
        start: range.start as i64,
        end: range.end as i64,
        total: session.properties.as_ref().map_or(0, |properties| properties.size_bytes),
        ..Default::default()
    }
}

/// A message with a range's next bytes.
pub fn chunk(bytes: impl Into<Bytes>) -> UploadRangeRequest {
    UploadRangeRequest { content: Some(Content::Chunk(bytes.into())) }
}

/// A fixed pattern. Ranges at different offsets differ in it.
pub fn sample_bytes(length: usize) -> Bytes {
    (0..length).map(|position| (position % 251) as u8 ^ (position / 251) as u8).collect()
}

pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

pub fn sha256(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(digest(&SHA256, bytes).as_ref())
}

/// A range, to compare with the missing ones.
pub fn span(range: &ByteRange) -> Range<i64> {
    range.start..range.end
}

/// Ranges, to compare with the missing ones.
pub fn spans(ranges: &[ByteRange]) -> Vec<Range<usize>> {
    ranges.iter().map(|range| range.start as usize..range.end as usize).collect()
}
