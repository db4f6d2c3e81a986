//! The plan for a range, from the state of its session when the range begins.

use super::{End, State};
use crate::range::ByteRange;

/// How many pieces a document of any size may have.
pub const BASE_PIECES: u64 = 64;

/// A document may have one more piece for each of these bytes that it begins: a range of one byte costs as much as one
/// of many.
pub const BYTES_PER_PIECE: u64 = 64 * 1024;

/// How many pieces a document of this size may have. `max_fragments` is the limit for every document.
pub fn piece_limit(size_bytes: u64, max_fragments: u32) -> u32 {
    let by_size = size_bytes.div_ceil(BYTES_PER_PIECE) + BASE_PIECES;
    u32::try_from(by_size).map_or(max_fragments, |by_size| by_size.min(max_fragments))
}

/// A session as one range sees it.
#[derive(Debug, Clone)]
pub struct RangeView {
    /// The session's state.
    pub state: State,
    /// Whether it is active and past its expiry. See [`super::UploadSession::is_overdue`].
    pub is_overdue: bool,
    /// The document's size in bytes.
    pub size_bytes: u64,
    /// How many pieces are committed.
    pub fragment_count: u32,
    /// The pieces of the range that are not committed yet, ascending.
    pub missing: Vec<ByteRange>,
    /// The range that completed the document, and its CRC32C.
    pub completing: Option<(ByteRange, u32)>,
    /// How often the session's upload URL was renewed.
    pub url_generation: u32,
}

/// A range, as its header describes it.
#[derive(Debug, Clone, Copy)]
pub struct RangeRequest {
    /// The bytes that the caller sends.
    pub range: ByteRange,
    /// The size of the whole document in bytes, as the caller knows it.
    pub total: u64,
    /// Whether the caller sent a digest of the range.
    pub has_digest: bool,
}

/// What to do with a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Receive it, and commit exactly these pieces.
    Take(Vec<ByteRange>),
    /// Receive it once more, and confirm that it has the bytes that are committed.
    Confirm(Expected),
    /// Receive nothing.
    Refuse(Refusal),
}

/// What the bytes of a repeated range are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The committed bytes of an active session.
    Committed,
    /// The CRC32C of the range that completed the document. The response is the same as the first time.
    Completing(u32),
}

/// Why a range is not received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The session was canceled or has expired.
    Ended(End),
    /// The document is complete, and another range completed it.
    Completed,
    /// The document has another size.
    WrongTotal {
        /// The document's size, in bytes.
        size_bytes: u64,
    },
    /// No byte is missing, and without a digest it is unknown whether these are the same bytes.
    AlreadyReceived,
    /// With this range the document would have too many pieces.
    TooManyFragments {
        /// How many it may have.
        limit: u32,
    },
}

/// Plans a range. The pieces to commit are fixed here: if another writer commits a part of them first, the commit
/// changes nothing.
pub fn plan(view: RangeView, request: RangeRequest, max_fragments: u32) -> Plan {
    match view.state.end() {
        Some(end) => Plan::Refuse(Refusal::Ended(end)),
        None if view.state == State::Completed => plan_completed(&view, request),
        None => plan_active(view, request, max_fragments),
    }
}

fn plan_active(view: RangeView, request: RangeRequest, max_fragments: u32) -> Plan {
    let RangeView { size_bytes, fragment_count, missing, .. } = view;
    if request.total != size_bytes {
        return Plan::Refuse(Refusal::WrongTotal { size_bytes });
    }
    if missing.is_empty() {
        return if request.has_digest {
            Plan::Confirm(Expected::Committed)
        } else {
            Plan::Refuse(Refusal::AlreadyReceived)
        };
    }
    let limit = piece_limit(size_bytes, max_fragments);
    if fragment_count as usize + missing.len() > limit as usize {
        return Plan::Refuse(Refusal::TooManyFragments { limit });
    }
    Plan::Take(missing)
}

/// A completed session accepts one range: a repetition of the one that completed it.
fn plan_completed(view: &RangeView, request: RangeRequest) -> Plan {
    let completing = view.completing.filter(|(range, _)| *range == request.range);
    let Some((_, crc32c)) = completing else { return Plan::Refuse(Refusal::Completed) };
    if request.total != view.size_bytes {
        return Plan::Refuse(Refusal::WrongTotal { size_bytes: view.size_bytes });
    }
    Plan::Confirm(Expected::Completing(crc32c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decide(state: State, missing: &[ByteRange], completing: Option<ByteRange>, has_digest: bool) -> Plan {
        let completing = completing.map(|range| (range, 42));
        let missing = missing.to_vec();
        let (is_overdue, size_bytes, fragment_count, url_generation) = (false, 10, 0, 0);
        let view = RangeView { state, is_overdue, size_bytes, fragment_count, missing, completing, url_generation };
        plan(view, RangeRequest { range: ByteRange::known(4, 8), total: 10, has_digest }, 1)
    }

    #[test]
    fn a_small_document_has_few_pieces() {
        for (size_bytes, limit) in
            [(1, 65), (65_536, 65), (65_537, 66), (10 << 20, 224), (1 << 30, 10_000), (u64::MAX, 10_000)]
        {
            assert_eq!(piece_limit(size_bytes, 10_000), limit, "{size_bytes}");
        }
        assert_eq!(piece_limit(1 << 30, 3), 3);
        assert_eq!(piece_limit(1 << 40, u32::MAX), (1 << 24) + 64);
    }

    #[test]
    fn an_active_session_takes_what_is_missing() {
        let half = [ByteRange::known(6, 8)];
        assert_eq!(decide(State::Active, &half, None, false), Plan::Take(half.to_vec()));
        assert_eq!(decide(State::Active, &[], None, true), Plan::Confirm(Expected::Committed));
        assert_eq!(decide(State::Active, &[], None, false), Plan::Refuse(Refusal::AlreadyReceived));
    }

    #[test]
    fn a_completed_session_repeats_only_its_last_response() {
        let same = Some(ByteRange::known(4, 8));
        let other = Some(ByteRange::known(4, 9));
        assert_eq!(decide(State::Completed, &[], same, false), Plan::Confirm(Expected::Completing(42)));
        assert_eq!(decide(State::Completed, &[], other, true), Plan::Refuse(Refusal::Completed));
    }

    #[test]
    fn an_ended_session_takes_nothing() {
        for (state, end) in [(State::Canceled, End::Canceled), (State::Expired, End::Expired)] {
            let planned = decide(state, &[ByteRange::known(4, 8)], None, true);
            assert_eq!(planned, Plan::Refuse(Refusal::Ended(end)));
        }
    }

    /// The rules in their order: the first that applies decides, and with it the error that the caller gets.
    fn first_rule(view: &RangeView, request: RangeRequest, max_fragments: u32) -> Plan {
        let completing = view.completing.filter(|_| view.state == State::Completed);
        let repeated = completing.filter(|(range, _)| *range == request.range).map(|(_, crc32c)| crc32c);
        let is_too_many = view.missing.len() as u64 + u64::from(view.fragment_count) > u64::from(max_fragments);
        let rules = [
            (view.state == State::Canceled, Plan::Refuse(Refusal::Ended(End::Canceled))),
            (view.state == State::Expired, Plan::Refuse(Refusal::Ended(End::Expired))),
            (view.state == State::Completed && repeated.is_none(), Plan::Refuse(Refusal::Completed)),
            (request.total != view.size_bytes, Plan::Refuse(Refusal::WrongTotal { size_bytes: view.size_bytes })),
            (repeated.is_some(), Plan::Confirm(Expected::Completing(repeated.unwrap_or_default()))),
            (!view.missing.is_empty() && is_too_many, Plan::Refuse(Refusal::TooManyFragments { limit: max_fragments })),
            (!view.missing.is_empty(), Plan::Take(view.missing.clone())),
            (request.has_digest, Plan::Confirm(Expected::Committed)),
        ];
        let decided = rules.into_iter().find(|(applies, _)| *applies);
        decided.map_or(Plan::Refuse(Refusal::AlreadyReceived), |(_, plan)| plan)
    }

    fn any_view() -> impl Strategy<Value = RangeView> {
        let state = prop_oneof![
            Just(State::Active),
            Just(State::Active),
            Just(State::Completed),
            Just(State::Canceled),
            Just(State::Expired)
        ];
        let missing = prop::sample::subsequence(vec![ByteRange::known(4, 5), ByteRange::known(7, 8)], 0..=2);
        let completing = prop::option::of((4..=5_u64, Just(8_u64), any::<u32>()));
        (state, 9..=10_u64, 0..=3_u32, missing, completing).prop_map(
            |(state, size_bytes, fragment_count, missing, completing)| RangeView {
                is_overdue: false,
                state,
                size_bytes,
                fragment_count,
                missing,
                completing: completing.map(|(start, end, crc32c)| (ByteRange::known(start, end), crc32c)),
                url_generation: 0,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_first_rule_that_applies_decides(view in any_view(), has_digest: bool, max_fragments in 0..=4_u32) {
            let request = RangeRequest { range: ByteRange::known(4, 8), total: 10, has_digest };
            prop_assert_eq!(plan(view.clone(), request, max_fragments), first_rule(&view, request, max_fragments));
        }
    }
}
