//! The header of a range: which bytes follow, and their digests.

use super::range_body::Digests;
use crate::{
    error::{Error, Limited},
    proto::RangeHeader,
    range::{ByteRange, RangeError},
};

const SHA256_BYTES: usize = 32;

/// A header whose values are valid, except for `total`: it is compared with the session later.
pub struct Header {
    pub range: ByteRange,
    pub total: u64,
    pub digests: Digests,
}

impl Header {
    pub fn parse(header: &RangeHeader, max_range_bytes: u64) -> Result<Self, Error> {
        let Ok(total) = u64::try_from(header.total) else {
            return Err(Error::invalid_field("header.total", "must not be negative"));
        };
        let range = ByteRange::new(header.start, header.end, total, max_range_bytes).map_err(|error| match error {
            RangeError::TooLong => Error::TooLarge { what: Limited::Range, limit: max_range_bytes },
            _ => {
                let field = if header.start < 0 { "header.start" } else { "header.end" };
                Error::invalid_field(field, error.to_string())
            }
        })?;
        if !matches!(header.sha256.len(), 0 | SHA256_BYTES) {
            return Err(Error::invalid_field("header.sha256", "must be 32 bytes, or empty"));
        }
        let sha256 = (!header.sha256.is_empty()).then(|| header.sha256.to_vec());
        Ok(Self { range, total, digests: Digests { crc32c: header.crc32c, sha256 } })
    }
}
