//! The document that `demo` and `smoke` upload.

use std::ops::Range;

use bytes::Bytes;
use print_upload_client::proto::{DocumentProperties, RangeHeader};

/// How large it is.
pub(super) const SIZE: usize = 8 * 1000 * 1000;

/// What is said of it when its session is created.
pub(super) fn properties() -> DocumentProperties {
    DocumentProperties {
        document_name: "poster.pdf".into(),
        content_type: "application/pdf".into(),
        size_bytes: SIZE as i64,
    }
}

/// The bytes of a range of it.
pub(super) fn bytes(range: Range<usize>) -> Bytes {
    range.map(|position| (position % 251) as u8).collect()
}

/// The header of a range of it.
pub(super) fn header(session: &str, range: &Range<usize>) -> RangeHeader {
    RangeHeader {
        name: session.into(),
        start: range.start as i64,
        end: range.end as i64,
        total: SIZE as i64,
        ..Default::default()
    }
}

/// A quarter of it.
pub(super) fn quarter(number: usize) -> Range<usize> {
    number * SIZE / 4..(number + 1) * SIZE / 4
}
