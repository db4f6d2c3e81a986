//! The bytes of a fragment that wait to be written: the buffers in which they arrived.

use bytes::{Buf, Bytes, BytesMut};
use object_store::PutPayload;

/// How many bytes are gathered before they are written: each write costs a switch to a blocking thread.
pub const PART_BYTES: usize = 512 * 1024;

/// The smallest buffer that is kept. A smaller one is copied, because it may be a slice of a much larger buffer, which
/// it would keep in memory.
const KEPT_BYTES: usize = 32 * 1024;

/// How many bytes are copied into one block.
const BLOCK_BYTES: usize = 64 * 1024;

/// Up to [`PART_BYTES`] bytes, in order.
#[derive(Debug, Default)]
pub struct Part {
    buffers: Vec<Bytes>,
    length: usize,
    /// Copied bytes that follow `buffers`, with space for more.
    block: BytesMut,
}

impl Part {
    /// Moves bytes from the front of `bytes` into the part, until it is full.
    pub fn fill_from(&mut self, bytes: &mut Bytes) {
        let mut taken = bytes.split_to(bytes.len().min(PART_BYTES - self.length));
        self.length += taken.len();
        if taken.len() >= KEPT_BYTES {
            self.seal_block();
            self.buffers.push(taken);
            return;
        }
        while !taken.is_empty() {
            let free = self.block.capacity() - self.block.len();
            if free == 0 {
                self.seal_block();
                self.block = BytesMut::with_capacity(BLOCK_BYTES);
                continue;
            }
            let copied = free.min(taken.len());
            self.block.extend_from_slice(&taken[..copied]);
            taken.advance(copied);
        }
    }

    /// Whether it has as many bytes as it can.
    pub fn is_full(&self) -> bool {
        self.length == PART_BYTES
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes all bytes out of the part.
    pub fn take(&mut self) -> PutPayload {
        self.seal_block();
        self.length = 0;
        self.buffers.drain(..).collect()
    }

    /// Bytes that are copied later go into the rest of the block.
    fn seal_block(&mut self) {
        if !self.block.is_empty() {
            self.buffers.push(self.block.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The parts that these buffers fill; the last one is not full.
    fn parts_of(buffers: impl IntoIterator<Item = Bytes>) -> Vec<Vec<Bytes>> {
        let (mut part, mut parts) = (Part::default(), Vec::new());
        for mut buffer in buffers {
            while !buffer.is_empty() {
                part.fill_from(&mut buffer);
                if part.is_full() {
                    parts.push(part.take().into_iter().collect());
                }
            }
        }
        parts.push(part.take().into_iter().collect());
        parts
    }

    #[test]
    fn a_large_buffer_is_kept_and_not_copied() {
        let large = Bytes::from(vec![7; PART_BYTES / 2]);
        let parts = parts_of([large.clone(), Bytes::from_static(b"small"), large.clone()]);
        let pointers: Vec<_> = parts[0].iter().map(|buffer| buffer.as_ptr()).collect();
        assert_eq!([pointers[0], pointers[2]], [large.as_ptr(); 2]);
        assert_eq!(parts[0][1], "small");
    }

    /// A small slice would keep its whole buffer in memory.
    #[test]
    fn small_slices_are_copied_and_their_buffers_freed() {
        let mut part = Part::default();
        for _ in 0..50 {
            let large = Bytes::from(vec![7; 1024 * 1024]);
            part.fill_from(&mut large.slice(..10));
            assert!(large.is_unique(), "the part holds all of it");
            part.fill_from(&mut large.slice(..KEPT_BYTES - 1));
            assert!(large.is_unique(), "the part holds all of it");
        }
    }

    /// Many small slices between kept ones share blocks.
    #[test]
    fn copied_bytes_take_little_more_memory_than_they_have() {
        let mut part = Part::default();
        let mut blocks = 0;
        for _ in 0..PART_BYTES / (KEPT_BYTES + 1) {
            let before = part.block.capacity();
            part.fill_from(&mut Bytes::from_static(b"x"));
            blocks += usize::from(part.block.capacity() > before);
            part.fill_from(&mut Bytes::from(vec![7; KEPT_BYTES]));
        }
        assert_eq!(blocks, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn parts_are_the_bytes_in_order(lengths in proptest::collection::vec(
            prop_oneof![0..100_usize, KEPT_BYTES - 2..KEPT_BYTES + 2, PART_BYTES - 2..2 * PART_BYTES], 0..12,
        )) {
            let total = lengths.iter().sum();
            let expected: Vec<u8> = (0..total).map(|at: usize| (at % 251) as u8).collect();
            let mut rest = Bytes::from(expected.clone());
            let parts = parts_of(lengths.iter().map(|length| rest.split_to(*length)));

            let (last, full) = parts.split_last().expect("a part");
            let length = |part: &[Bytes]| part.iter().map(Bytes::len).sum::<usize>();
            prop_assert!(full.iter().all(|part| length(part) == PART_BYTES));
            prop_assert!(length(last) < PART_BYTES);
            prop_assert!(parts.concat().concat() == expected);
        }
    }
}
