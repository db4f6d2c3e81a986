//! Checks that a session that is resumed has the same bytes as the source.

use std::{num::NonZero, ops::Range, sync::Arc};

use super::{Error, retry::Patience, send::RangeSender};
use crate::proto::{Reason, UploadSession};

/// How many bytes are compared, at most, at each end of an area. An area is a run of received bytes without a gap.
const COMPARED_BYTES: u64 = 64 * 1024;

/// How many areas are compared, from the first one and from the last one.
const COMPARED_AREAS: usize = 4;

impl RangeSender {
    /// Fails when the session has other bytes than the source. A range that the session has is sent again with its
    /// digest: the service compares it, and nothing changes. Only a sample is sent, in ranges of at most `range_bytes`.
    /// All bytes are checked at the end of the upload.
    pub(super) async fn compare(
        self: &Arc<Self>,
        session: &UploadSession,
        range_bytes: NonZero<u64>,
    ) -> Result<(), Error> {
        let mut patience = Patience::new(self.client.patience);
        let length = COMPARED_BYTES.min(range_bytes.get());
        for range in compared(&received(session, self.source.size_bytes()), length) {
            while let Err(error) = self.repeat(range.clone()).await {
                let Error::Call(status) = &error else { return Err(error) };
                match Reason::of(status) {
                    Some(Reason::DigestConflict) => {
                        return Err(Error::OtherBytes { file: self.source.name().to_owned() });
                    }
                    // Another caller has completed it, or the service accepts only tiny ranges: the document's CRC32C
                    // decides.
                    Some(Reason::UploadSessionCompleted | Reason::RangeTooLarge) => return Ok(()),
                    _ => patience.wait(error, &self.progress).await?,
                }
            }
            patience.succeeded();
        }
        self.progress.send_modify(|progress| progress.trouble = None);
        Ok(())
    }
}

/// The areas that a session has: everything that is not missing.
pub(super) fn received(session: &UploadSession, size: u64) -> Vec<Range<u64>> {
    let mut areas = Vec::new();
    let mut start = 0;
    for missing in &session.next_expected_ranges {
        areas.push(start..missing.start.try_into().unwrap_or_default());
        start = missing.end.try_into().unwrap_or_default();
    }
    areas.push(start..size);
    areas.retain(|area| !area.is_empty());
    areas
}

/// At most `length` bytes at the beginning and at the end of the first and the last areas.
fn compared(areas: &[Range<u64>], length: u64) -> Vec<Range<u64>> {
    let (first, others) = areas.split_at(areas.len().min(COMPARED_AREAS));
    let last = &others[others.len().saturating_sub(COMPARED_AREAS)..];
    let mut ranges = Vec::new();
    for area in first.iter().chain(last) {
        let head = area.start..area.end.min(area.start + length);
        let tail = head.end.max(area.end.saturating_sub(length))..area.end;
        ranges.extend([head, tail]);
    }
    ranges.retain(|range| !range.is_empty());
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ByteRange;

    fn pairs(ranges: &[Range<u64>]) -> Vec<(u64, u64)> {
        ranges.iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn received_is_what_is_not_missing() {
        let session = |missing: &[(i64, i64)]| UploadSession {
            next_expected_ranges: missing.iter().map(|&(start, end)| ByteRange { start, end }).collect(),
            ..Default::default()
        };
        let areas = |missing| pairs(&received(&session(missing), 10));
        assert_eq!(areas(&[(0, 10)]), []);
        assert_eq!(areas(&[(0, 2), (5, 8)]), [(2, 5), (8, 10)]);
        assert_eq!(areas(&[(3, 10)]), [(0, 3)]);
    }

    #[test]
    fn a_little_of_each_end_is_compared() {
        const K: u64 = 1024;
        let of_one = |end| pairs(&compared(std::slice::from_ref(&(0..end)), 64 * K));
        assert_eq!(of_one(10), [(0, 10)]);
        assert_eq!(of_one(100 * K), [(0, 64 * K), (64 * K, 100 * K)]);
        assert_eq!(of_one(1000 * K), [(0, 64 * K), (936 * K, 1000 * K)]);
        let many: Vec<_> = (0..100).map(|index| index * 10..index * 10 + 5).collect();
        let starts: Vec<_> = compared(&many, 64 * K).iter().map(|range| range.start).collect();
        assert_eq!(starts, [0, 10, 20, 30, 960, 970, 980, 990]);
    }
}
