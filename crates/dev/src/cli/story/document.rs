//! The document that the story uploads.

use std::ops::Range;

use bytes::Bytes;
use print_upload_client::proto::{DocumentProperties, RangeHeader};

/// In bytes.
pub(in crate::cli) const SIZE: usize = 8 * 1000 * 1000;

pub(super) fn properties() -> DocumentProperties {
    DocumentProperties {
        document_name: "poster.pdf".into(),
        content_type: "application/pdf".into(),
        size_bytes: SIZE as i64,
    }
}

/// The bytes of a range.
pub(in crate::cli) fn bytes(range: Range<usize>) -> Bytes {
    let pattern: Vec<u8> = (0..251).collect();
    let start = range.start % pattern.len();
    let end = start + range.len();
    Bytes::from(pattern.repeat(end.div_ceil(pattern.len()))).slice(start..end)
}

pub(in crate::cli) fn header(session: &str, range: &Range<usize>) -> RangeHeader {
    RangeHeader {
        name: session.into(),
        start: range.start as i64,
        end: range.end as i64,
        total: SIZE as i64,
        ..Default::default()
    }
}

pub(in crate::cli) fn quarter(number: usize) -> Range<usize> {
    number * SIZE / 4..(number + 1) * SIZE / 4
}
