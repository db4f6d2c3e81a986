//! What may be done with a range, given what its session holds when the range's stream begins.

use super::State;
use crate::range::ByteRange;

/// A session as one range sees it.
#[derive(Debug, Clone)]
pub struct RangeView {
    /// What has become of the session.
    pub state: State,
    /// The document's size in bytes.
    pub size_bytes: u64,
    /// How many fragments are committed.
    pub fragment_count: u32,
    /// The pieces of the range that are not committed yet, ascending.
    pub new: Vec<ByteRange>,
    /// The range that completed the document, and its CRC32C.
    pub completing: Option<(ByteRange, u32)>,
}

/// What to do with a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Store it; exactly these pieces are to be committed.
    Store(Vec<ByteRange>),
    /// Nothing is missing, but the caller sent a digest: compare it with that of the committed bytes.
    Compare,
    /// The exact repeat of the range that completed the document: compare with its CRC32C, and answer as the first time.
    Replay(u32),
    /// Nothing is missing, and nothing says that these are the same bytes.
    AlreadyReceived,
    /// The session takes no ranges any more.
    Ended(State),
}

/// Decides about `range`. The pieces to commit are fixed here: another writer that takes one of them in the meantime
/// makes the commit change nothing.
pub fn admit(view: RangeView, range: ByteRange, has_digest: bool) -> Admission {
    match (view.state, view.completing) {
        (State::Completed, Some((completing, crc32c))) if completing == range => Admission::Replay(crc32c),
        (State::Active, _) if !view.new.is_empty() => Admission::Store(view.new),
        (State::Active, _) if has_digest => Admission::Compare,
        (State::Active, _) => Admission::AlreadyReceived,
        (ended, _) => Admission::Ended(ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(state: State, new: &[ByteRange], completing: Option<ByteRange>, has_digest: bool) -> Admission {
        let completing = completing.map(|range| (range, 42));
        let view = RangeView { state, size_bytes: 10, fragment_count: 0, new: new.to_vec(), completing };
        admit(view, ByteRange::known(4, 8), has_digest)
    }

    #[test]
    fn an_active_session_takes_what_is_missing() {
        let half = [ByteRange::known(6, 8)];
        assert_eq!(decide(State::Active, &half, None, false), Admission::Store(half.to_vec()));
        assert_eq!(decide(State::Active, &[], None, true), Admission::Compare);
        assert_eq!(decide(State::Active, &[], None, false), Admission::AlreadyReceived);
    }

    #[test]
    fn a_completed_session_repeats_only_its_last_answer() {
        let same = Some(ByteRange::known(4, 8));
        let other = Some(ByteRange::known(4, 9));
        assert_eq!(decide(State::Completed, &[], same, false), Admission::Replay(42));
        assert_eq!(decide(State::Completed, &[], other, true), Admission::Ended(State::Completed));
    }

    #[test]
    fn an_ended_session_takes_nothing() {
        for state in [State::Canceled, State::Expired] {
            assert_eq!(decide(state, &[ByteRange::known(4, 8)], None, true), Admission::Ended(state));
        }
    }
}
