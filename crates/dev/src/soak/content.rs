//! The bytes of documents: a pattern that begins at another byte for each document.

use std::ops::Range;

use bytes::Bytes;
use fastrand::Rng;

/// The smallest and the largest document, in bytes.
const SIZES: Range<usize> = 50_000..2_000_000;

/// A document is sent in so many ranges.
const PIECES: Range<usize> = 3..9;

/// The pattern repeats after so many bytes.
const PERIOD: usize = 251;

/// The contents of all documents.
#[derive(Debug, Clone)]
pub struct Contents(Bytes);

/// The content of one document.
#[derive(Debug, Clone)]
pub struct Content {
    bytes: Bytes,
}

impl Default for Contents {
    fn default() -> Self {
        let pattern: Vec<u8> = (0..PERIOD).map(|byte| byte as u8).collect();
        Self(pattern.repeat(SIZES.end / PERIOD + 2).into())
    }
}

impl Contents {
    pub fn of_new_document(&self, rng: &mut Rng) -> Content {
        let (first, size) = (rng.usize(..PERIOD), rng.usize(SIZES));
        Content { bytes: self.0.slice(first..first + size) }
    }
}

impl Content {
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn bytes(&self, range: &Range<usize>) -> Bytes {
        self.bytes.slice(range.clone())
    }

    pub fn is(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes
    }

    /// The ranges of the document, in any order.
    pub fn pieces(&self, rng: &mut Rng) -> Vec<Range<usize>> {
        let mut cuts: Vec<usize> = (1..rng.usize(PIECES)).map(|_| rng.usize(1..self.size())).collect();
        cuts.extend([0, self.size()]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut pieces: Vec<_> = cuts.windows(2).map(|ends| ends[0]..ends[1]).collect();
        rng.shuffle(&mut pieces);
        pieces
    }
}
