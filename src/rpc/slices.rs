//! Cuts stored pieces into slices. A slice is read with one call to the store, and sent as one chunk. So memory is
//! bounded, whatever the size of a piece.

use std::{iter, ops::Range};

use print_upload_client::MAX_CHUNK_BYTES;
use uuid::Uuid;

use crate::store::StoredPiece;

/// The longest slice, in bytes.
const SLICE_BYTES: u64 = MAX_CHUNK_BYTES as u64;

/// The longest slice at the beginning of a download, and how much of it is the beginning. A download keeps about five
/// slices, also if its client does not read. So a client that reads nothing at all costs little.
const FIRST_SLICE_BYTES: u64 = 64 * 1024;
const BEGINNING_BYTES: u64 = 1024 * 1024;

/// A part of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    /// The object.
    pub(super) object: Uuid,
    /// The bytes of the object.
    pub(super) bytes: Range<u64>,
}

/// Cuts those bytes of a piece that are in `wanted`, a range of the document's bytes that a download sends.
pub(super) fn slices(stored: &StoredPiece, wanted: Range<u64>) -> impl Iterator<Item = Slice> + use<> {
    let piece = stored.piece.range;
    let end = wanted.end.clamp(piece.start(), piece.end());
    let mut start = wanted.start.clamp(piece.start(), end);
    let (object, shift) = (stored.object, stored.offset);
    let in_object = move |position: u64| position - piece.start() + shift;
    iter::from_fn(move || {
        let is_beginning = start.saturating_sub(wanted.start) < BEGINNING_BYTES;
        let length = if is_beginning { FIRST_SLICE_BYTES } else { SLICE_BYTES };
        let slice = start..end.min(start + length);
        start = slice.end;
        let bytes = in_object(slice.start)..in_object(slice.end);
        (!slice.is_empty()).then_some(Slice { object, bytes })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::{ByteRange, Piece};

    const MIB: u64 = 1024 * 1024;

    /// The slices of bytes 1 MiB to 4 MiB of a document, which are 100 bytes into their object.
    fn cut(wanted: Range<u64>) -> Vec<(u64, u64)> {
        let piece = Piece { range: ByteRange::known(MIB, 4 * MIB), crc32c: 0 };
        let stored = StoredPiece { piece, object: Uuid::nil(), offset: 100 };
        slices(&stored, wanted).map(|slice| (slice.bytes.start, slice.bytes.end)).collect()
    }

    #[test]
    fn a_piece_is_cut_at_the_ends_of_the_requested_bytes() {
        let whole = cut(0..10 * MIB);
        assert_eq!(whole.len() as u64, 3 * MIB / SLICE_BYTES);
        assert_eq!((whole[0], whole[2].1), ((100, MIB + 100), 3 * MIB + 100));
        assert!(whole.windows(2).all(|pair| pair[0].1 == pair[1].0), "{whole:?}");
        assert_eq!(cut(MIB + 5..MIB + 7), [(105, 107)]);
        assert_eq!(cut(4 * MIB - 1..9 * MIB), [(3 * MIB + 99, 3 * MIB + 100)]);
        for elsewhere in [0..MIB, 0..5, 4 * MIB..9 * MIB, 2 * MIB..2 * MIB] {
            assert_eq!(cut(elsewhere.clone()), [], "{elsewhere:?}");
        }
    }

    #[test]
    fn a_download_begins_with_short_slices() {
        let lengths: Vec<u64> = cut(MIB + 10..4 * MIB).into_iter().map(|(start, end)| end - start).collect();
        let short = (BEGINNING_BYTES / FIRST_SLICE_BYTES) as usize;
        assert!(lengths[..short].iter().all(|length| *length == FIRST_SLICE_BYTES), "{lengths:?}");
        assert!(lengths[short..].iter().rev().skip(1).all(|length| *length == SLICE_BYTES), "{lengths:?}");
        assert_eq!(lengths.iter().sum::<u64>(), 3 * MIB - 10);
    }
}
