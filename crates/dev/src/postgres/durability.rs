//! How much of a cluster's data may be lost.

/// What a power failure may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was committed.
    Durable,
    /// Everything. For tests, which are faster like this and do not keep their data.
    Scratch,
}

impl Durability {
    /// The settings of the server.
    pub(super) fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Durable => &["fsync=on", "full_page_writes=on", "synchronous_commit=on"],
            // The service refuses a database with synchronous_commit=off. Without fsync, `on` costs little more.
            Self::Scratch => &["fsync=off", "full_page_writes=off", "synchronous_commit=on"],
        }
    }
}
