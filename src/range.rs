//! Byte ranges of a document, and their checksums. No I/O.

/// A half-open, non-empty range of bytes: `start` is the first one, `end` the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

/// Why two numbers are not a range of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A bound below zero.
    #[error("must not be negative")]
    Negative,
    /// An end that is not greater than the start.
    #[error("end must be greater than start")]
    Empty,
    /// An end past the document's size.
    #[error("ends past the document's size")]
    PastEnd,
    /// More bytes than one range may have.
    #[error("has more bytes than one range may have")]
    TooLong,
}

impl ByteRange {
    /// A range within a document of `size` bytes, of at most `max_len` bytes.
    pub fn new(start: i64, end: i64, size: u64, max_len: u64) -> Result<Self, RangeError> {
        let start = u64::try_from(start).map_err(|_| RangeError::Negative)?;
        let end = u64::try_from(end).map_err(|_| RangeError::Negative)?;
        if end <= start {
            return Err(RangeError::Empty);
        }
        if end > size {
            return Err(RangeError::PastEnd);
        }
        if end - start > max_len {
            return Err(RangeError::TooLong);
        }
        Ok(Self { start, end })
    }

    /// A range that is known to be valid, because the database has computed it.
    pub(crate) fn known(start: u64, end: u64) -> Self {
        debug_assert!(start < end);
        Self { start, end }
    }

    /// Offset of the first byte.
    pub fn start(self) -> u64 {
        self.start
    }

    /// Offset after the last byte.
    pub fn end(self) -> u64 {
        self.end
    }

    /// Length in bytes, at least 1. A range is never empty.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> u64 {
        self.end - self.start
    }
}

/// A part of a range, with the CRC32C of its bytes. Only parts that were missing enter the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The bytes of the piece.
    pub range: ByteRange,
    /// Their CRC32C.
    pub crc32c: u32,
}

/// The CRC32C of adjacent pieces together, combined from the checksum of each.
pub fn combined_crc32c<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> u32 {
    let mut pieces = pieces.into_iter();
    // Combining costs as much as the checksum of half a MiB, and most ranges are one piece.
    let first = pieces.next().map_or(0, |piece| piece.crc32c);
    pieces.fold(first, |crc, piece| crc32c::crc32c_combine(crc, piece.crc32c, piece.range.len() as usize))
}

/// Computes the CRC32C of a range and of each of its pieces, in one pass while the bytes arrive.
///
/// The range is cut at the bounds of its pieces. The parts between them have a checksum as well, so that the checksum
/// of the whole range can be combined from all parts.
#[derive(Debug)]
pub struct PieceChecksums {
    /// Adjacent and ascending; together they are the range. The flag is true for a piece, and false for a part between
    /// pieces.
    parts: Vec<(Piece, bool)>,
    /// The part that the next byte belongs to, and how many bytes of it have arrived.
    current: usize,
    arrived: u64,
}

impl PieceChecksums {
    /// Cuts `range` at the bounds of `pieces`, which are ascending, disjoint and inside it.
    pub fn new(range: ByteRange, pieces: &[ByteRange]) -> Self {
        let part = |start, end| Piece { range: ByteRange::known(start, end), crc32c: 0 };
        let mut parts = Vec::with_capacity(2 * pieces.len() + 1);
        let mut position = range.start;
        for piece in pieces {
            if position < piece.start {
                parts.push((part(position, piece.start), false));
            }
            parts.push((part(piece.start, piece.end), true));
            position = piece.end;
        }
        if position < range.end {
            parts.push((part(position, range.end), false));
        }
        Self { parts, current: 0, arrived: 0 }
    }

    /// Takes the next bytes of the range. More bytes than the range has are ignored.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while let Some((part, _)) = self.parts.get_mut(self.current) {
            let left = part.range.len() - self.arrived;
            let (now, later) = bytes.split_at(bytes.len().min(left as usize));
            part.crc32c = crc32c::crc32c_append(part.crc32c, now);
            self.arrived += now.len() as u64;
            if self.arrived < part.range.len() {
                return;
            }
            self.current += 1;
            self.arrived = 0;
            bytes = later;
        }
    }

    /// The CRC32C of the whole range.
    pub fn of_range(&self) -> u32 {
        combined_crc32c(self.parts.iter().map(|(part, _)| part))
    }

    /// The pieces, each with its checksum.
    pub fn of_pieces(&self) -> Vec<Piece> {
        self.parts.iter().filter(|(_, is_piece)| *is_piece).map(|(piece, _)| *piece).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_in_its_document() {
        let new = |start, end| ByteRange::new(start, end, 100, 50);
        assert_eq!(new(0, 50).map(ByteRange::len), Ok(50));
        assert_eq!(new(99, 100).map(ByteRange::len), Ok(1));
        assert_eq!(new(-1, 5), Err(RangeError::Negative));
        assert_eq!(new(0, i64::MIN), Err(RangeError::Negative));
        assert_eq!(new(5, 5), Err(RangeError::Empty));
        assert_eq!(new(6, 5), Err(RangeError::Empty));
        assert_eq!(new(99, 101), Err(RangeError::PastEnd));
        assert_eq!(new(0, i64::MAX), Err(RangeError::PastEnd));
        assert_eq!(new(0, 51), Err(RangeError::TooLong));
    }

    #[test]
    fn checksums_of_pieces_combine_to_that_of_the_range() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let range = ByteRange::known(5000, 6000);
        let ranges = [ByteRange::known(5000, 5001), ByteRange::known(5100, 5700), ByteRange::known(5999, 6000)];
        for chunk in [1, 7, 600, 1000] {
            let mut checksums = PieceChecksums::new(range, &ranges);
            bytes.chunks(chunk).for_each(|chunk| checksums.update(chunk));
            assert_eq!(checksums.of_range(), crc32c::crc32c(&bytes));
            let pieces = checksums.of_pieces();
            assert_eq!(pieces.iter().map(|piece| piece.range).collect::<Vec<_>>(), ranges);
            assert_eq!(pieces[1].crc32c, crc32c::crc32c(&bytes[100..700]));
        }
    }

    #[test]
    fn bytes_past_the_range_are_ignored() {
        let range = ByteRange::known(0, 3);
        let mut checksums = PieceChecksums::new(range, &[range]);
        checksums.update(b"abcdef");
        assert_eq!(checksums.of_range(), crc32c::crc32c(b"abc"));
    }
}
