//! Cuts stored pieces into slices. A slice is read with one call to the store, and is at most as long as a chunk. So
//! memory is bounded, whatever the size of a piece.

use std::ops::Range;

use print_upload_client::MAX_CHUNK_BYTES;
use uuid::Uuid;

use crate::store::StoredPiece;

/// A part of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    /// The object.
    pub(super) object: Uuid,
    /// The bytes of the object.
    pub(super) bytes: Range<u64>,
}

/// Cuts those bytes of a piece that are in `wanted`, a range of the document's bytes.
pub(super) fn slices(stored: &StoredPiece, wanted: Range<u64>) -> impl Iterator<Item = Slice> + use<> {
    let piece = stored.piece.range;
    let start = wanted.start.clamp(piece.start(), piece.end());
    let end = wanted.end.clamp(start, piece.end());
    let (object, shift) = (stored.object, stored.offset);
    let in_object = move |position: u64| position - piece.start() + shift;
    let (start, end) = (in_object(start), in_object(end));
    (start..end)
        .step_by(MAX_CHUNK_BYTES)
        .map(move |start| Slice { object, bytes: start..end.min(start + MAX_CHUNK_BYTES as u64) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::{ByteRange, Piece};

    const MIB: u64 = MAX_CHUNK_BYTES as u64;

    #[test]
    fn a_piece_is_cut_at_the_ends_of_the_requested_bytes() {
        // Bytes 1 MiB to 4 MiB of the document, 100 bytes into their object.
        let piece = Piece { range: ByteRange::known(MIB, 4 * MIB), crc32c: 0 };
        let stored = StoredPiece { piece, object: Uuid::nil(), offset: 100 };
        let cut =
            |wanted| slices(&stored, wanted).map(|slice| (slice.bytes.start, slice.bytes.end)).collect::<Vec<_>>();

        assert_eq!(cut(0..10 * MIB), [(100, MIB + 100), (MIB + 100, 2 * MIB + 100), (2 * MIB + 100, 3 * MIB + 100)]);
        assert_eq!(cut(MIB + 5..MIB + 7), [(105, 107)]);
        assert_eq!(cut(4 * MIB - 1..9 * MIB), [(3 * MIB + 99, 3 * MIB + 100)]);
        for elsewhere in [0..MIB, 0..5, 4 * MIB..9 * MIB, 2 * MIB..2 * MIB] {
            assert_eq!(cut(elsewhere.clone()), [], "{elsewhere:?}");
        }
    }
}
