//! How an upload is cut into ranges, and how fast it is.

use std::num::NonZero;

/// How long a range may take at the given rate, in seconds: much less than the ten minutes that a service allows.
const RANGE_SECONDS: u64 = 60;

/// How an upload is cut into ranges, and how fast it is. At most `parallel` ranges are in memory.
#[derive(Debug, Clone)]
pub struct UploadOptions {
    /// How many ranges are sent at once. A service accepts four of a session, unless it is configured otherwise.
    pub parallel: NonZero<u32>,
    /// How many bytes a range has at most. A service accepts 10 MiB, unless it is configured otherwise. If it accepts
    /// less, the upload makes its ranges smaller.
    pub range_bytes: NonZero<u64>,
    /// How fast to send, for all ranges together; as fast as possible by default.
    pub bytes_per_second: Option<NonZero<u64>>,
}

impl UploadOptions {
    /// Makes ranges small enough for the given rate.
    pub(super) fn with_ranges_for_rate(mut self) -> Self {
        if let Some(rate) = self.bytes_per_second {
            let longest = rate.get().saturating_mul(RANGE_SECONDS) / u64::from(self.parallel.get());
            self.range_bytes = self.range_bytes.min(NonZero::new(longest).unwrap_or(NonZero::<u64>::MIN));
        }
        self
    }
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            parallel: const { NonZero::new(4).unwrap() },
            range_bytes: const { NonZero::new(8 << 20).unwrap() },
            bytes_per_second: None,
        }
    }
}
