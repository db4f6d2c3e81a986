//! The bytes of cells. From its bytes a cell's sender is known: nobody else sends the same.

use std::ops::Range;

use bytes::Bytes;

use super::model::{CELLS, Content};

/// The length of a cell, in bytes.
pub const CELL_BYTES: usize = 512;

/// The length of the document, in bytes.
pub const DOCUMENT_BYTES: usize = CELLS * CELL_BYTES;

/// No sender's bytes.
const MIXED: Content = Content::MAX;

/// The bytes of cells that a sender fills with its content.
pub fn bytes_of(cells: Range<usize>, content: Content) -> Bytes {
    cells.flat_map(|cell| pattern(cell, content).into_iter().cycle().take(CELL_BYTES)).collect()
}

/// Whose bytes these are, by cell.
pub fn contents_in(document: &[u8]) -> [Content; CELLS] {
    if document.len() != DOCUMENT_BYTES {
        return [MIXED; CELLS];
    }
    std::array::from_fn(|cell| {
        let bytes = &document[cell * CELL_BYTES..(cell + 1) * CELL_BYTES];
        let content = Content::from_le_bytes([bytes[0], bytes[1]]);
        if bytes == &*bytes_of(cell..cell + 1, content) { content } else { MIXED }
    })
}

/// Which cells are missing, from the missing byte ranges. `None` when a range does not end at cells.
pub fn missing_cells(ranges: impl IntoIterator<Item = Range<usize>>) -> Option<[bool; CELLS]> {
    let mut missing = [false; CELLS];
    for range in ranges {
        if range.start % CELL_BYTES != 0 || range.end % CELL_BYTES != 0 || range.end > DOCUMENT_BYTES {
            return None;
        }
        missing[range.start / CELL_BYTES..range.end / CELL_BYTES].fill(true);
    }
    Some(missing)
}

fn pattern(cell: usize, content: Content) -> [u8; 4] {
    let [low, high] = content.to_le_bytes();
    [low, high, cell as u8, 0x55]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_of_a_cell_is_known_from_its_bytes() {
        let document = [bytes_of(0..2, 7), bytes_of(2..CELLS, 300)].concat();
        assert_eq!(contents_in(&document), [7, 7, 300, 300, 300, 300]);
        let mut mixed = document;
        mixed[CELL_BYTES + 9] ^= 1;
        assert_eq!(contents_in(&mixed), [7, MIXED, 300, 300, 300, 300]);
        assert_eq!(contents_in(b"short"), [MIXED; CELLS]);
    }
}
