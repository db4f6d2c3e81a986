//! How much a cluster's data are worth.

/// What a power cut may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was committed.
    Durable,
    /// Everything: for tests, which throw the data away and want to be fast.
    Scratch,
}

impl Durability {
    /// The server's settings for it.
    pub(super) fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Durable => &["fsync=on", "full_page_writes=on", "synchronous_commit=on"],
            Self::Scratch => &["fsync=off", "full_page_writes=off", "synchronous_commit=off"],
        }
    }
}
