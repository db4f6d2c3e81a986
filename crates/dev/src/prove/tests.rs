//! The checker is checked: histories that may happen are explained, and those of a broken service are not.

use std::time::Duration;

use print_upload_client::Reason;
use uuid::Uuid;

use super::{
    call::{Actor, Call, Outcome, Progress, Seen, Target},
    history::{History, Recorded, Verdict},
    model::{CELLS, Micros},
    session::State,
};

const SESSION: Uuid = Uuid::from_u128(1);
const SECOND: Uuid = Uuid::from_u128(2);
const IDLE: Micros = 1_000_000;

/// Calls one after the other, a thousand microseconds each.
struct HistoryBuilder(History);

impl HistoryBuilder {
    fn new() -> Self {
        let idle_timeout = Duration::from_micros(IDLE.unsigned_abs());
        Self(History { seed: 0, number: 0, document: Uuid::nil(), idle_timeout, calls: Vec::new() })
    }

    fn now(&self) -> Micros {
        self.0.calls.iter().map(|call| call.answered).max().unwrap_or_default()
    }

    fn then(mut self, call: Call, outcome: Outcome) -> Self {
        let invoked = self.now() + 1000;
        self.0.calls.push(Recorded { client: 0, via: "replica 0", call, outcome, invoked, answered: invoked + 1000 });
        self
    }

    /// A call that began this much earlier: it overlaps the calls before.
    fn meanwhile(mut self, earlier: Micros, call: Call, outcome: Outcome) -> Self {
        self = self.then(call, outcome);
        if let Some(last) = self.0.calls.last_mut() {
            last.invoked -= earlier;
        }
        self
    }

    fn later(mut self, micros: Micros) -> Self {
        self = self.then(Call::Download, Outcome::Nothing);
        if let Some(last) = self.0.calls.last_mut() {
            last.answered += micros;
        }
        self
    }

    fn created(self, session: Uuid) -> Self {
        let progress = Progress { is_completed: false, missing: [true; CELLS], expiry: self.now() + 1500 + IDLE };
        let seen = Seen { id: Some(session), state: State::Active, progress };
        self.then(Call::Create { by: Actor::Creator, variant: 0 }, Outcome::Session(seen))
    }

    fn deleted(self, outcome: Outcome) -> Self {
        self.then(Call::Delete { by: Actor::Creator, target: Target::Id(SESSION) }, outcome)
    }

    fn seen(self, state: State) -> Self {
        self.then(
            Call::Get { by: Actor::Creator, target: Target::Id(SESSION) },
            Outcome::Session(Seen::ended(Some(SESSION), state)),
        )
    }

    fn verdict(&self) -> Verdict {
        self.0.verdict()
    }
}

fn send(cells: std::ops::Range<usize>, content: u16) -> Call {
    Call::Send { session: SESSION, cells, content, has_digest: false }
}

/// The acknowledgement of the first cells.
fn acknowledged(history: &HistoryBuilder, cells: usize) -> Outcome {
    let missing = std::array::from_fn(|cell| cell >= cells);
    Outcome::Progress(Progress { is_completed: false, missing, expiry: history.now() + 1500 + IDLE })
}

fn completed() -> Outcome {
    Outcome::Progress(Seen::ended(None, State::Completed).progress)
}

fn canceled() -> Outcome {
    Outcome::Refused(Reason::UploadSessionCanceled)
}

#[test]
fn an_upload_a_cancel_and_an_expiry_are_explained() {
    let upload = HistoryBuilder::new().created(SESSION).then(send(0..CELLS, 1), completed());
    let upload = upload.then(Call::Download, Outcome::Content([1; CELLS]));
    assert_eq!(upload.verdict(), Verdict::Explained);

    let cancel = HistoryBuilder::new().created(SESSION).deleted(Outcome::Done).then(send(0..1, 1), canceled());
    assert_eq!(cancel.created(SECOND).verdict(), Verdict::Explained);

    let expiry = HistoryBuilder::new().created(SESSION).later(2 * IDLE).seen(State::Expired).created(SECOND);
    assert_eq!(expiry.verdict(), Verdict::Explained);
}

#[test]
fn a_range_that_is_acknowledged_after_a_cancel_is_not() {
    let history = HistoryBuilder::new().created(SESSION).deleted(Outcome::Done);
    let answer = acknowledged(&history, 1);
    assert_eq!(history.then(send(0..1, 1), answer).verdict(), Verdict::Unexplained);
}

#[test]
fn a_range_that_overlaps_the_cancel_may_be_acknowledged() {
    let history = HistoryBuilder::new().created(SESSION).deleted(Outcome::Done);
    let answer = acknowledged(&history, 1);
    assert_eq!(history.meanwhile(2500, send(0..1, 1), answer).verdict(), Verdict::Explained);
}

#[test]
fn a_session_that_comes_back_is_not() {
    let history = HistoryBuilder::new().created(SESSION).deleted(Outcome::Done);
    let progress = Progress { is_completed: false, missing: [true; CELLS], expiry: 1500 + IDLE };
    let active = Outcome::Session(Seen { id: Some(SESSION), state: State::Active, progress });
    let get = Call::Get { by: Actor::Creator, target: Target::Id(SESSION) };
    assert_eq!(history.then(get, active).verdict(), Verdict::Unexplained);

    let expired = HistoryBuilder::new().created(SESSION).later(2 * IDLE).seen(State::Expired);
    let answer = acknowledged(&expired, 1);
    assert_eq!(expired.then(send(0..1, 1), answer).verdict(), Verdict::Unexplained);
}

#[test]
fn an_expiry_before_its_time_is_not() {
    assert_eq!(HistoryBuilder::new().created(SESSION).seen(State::Expired).verdict(), Verdict::Unexplained);
}

#[test]
fn an_acknowledged_range_that_is_lost_or_replaced_is_not() {
    let history = HistoryBuilder::new().created(SESSION).then(send(0..CELLS, 1), completed());
    let replaced = history.then(Call::Download, Outcome::Content([1, 1, 1, 2, 1, 1]));
    assert_eq!(replaced.verdict(), Verdict::Unexplained);

    let history = HistoryBuilder::new().created(SESSION);
    let answer = acknowledged(&history, 2);
    let history = history.then(send(0..2, 1), answer);
    let forgotten = acknowledged(&history, 0);
    let Outcome::Progress(progress) = forgotten else { return };
    let seen = Outcome::Session(Seen { id: Some(SESSION), state: State::Active, progress });
    let get = Call::Get { by: Actor::Creator, target: Target::Name };
    assert_eq!(history.then(get, seen).verdict(), Verdict::Unexplained);
}

#[test]
fn two_active_sessions_of_a_document_are_not() {
    assert_eq!(HistoryBuilder::new().created(SESSION).created(SECOND).verdict(), Verdict::Unexplained);
}

#[test]
fn a_call_with_an_unknown_outcome_took_effect_or_did_not() {
    let history = || HistoryBuilder::new().created(SESSION).deleted(Outcome::Unknown);
    assert_eq!(history().seen(State::Canceled).verdict(), Verdict::Explained);
    let still_active = history();
    let answer = acknowledged(&still_active, 1);
    assert_eq!(still_active.then(send(0..1, 1), answer).seen(State::Canceled).verdict(), Verdict::Explained);
    let back_again = history().seen(State::Canceled);
    let answer = acknowledged(&back_again, 1);
    assert_eq!(back_again.then(send(0..1, 1), answer).verdict(), Verdict::Unexplained);
}

#[test]
fn a_range_that_was_committed_and_then_canceled_is_explained_by_its_refusal() {
    let history = HistoryBuilder::new().created(SESSION);
    let first = acknowledged(&history, 2);
    // Another caller has seen the second cell, although the range that brought it was refused in the end.
    let history = history.then(send(0..1, 1), first).deleted(Outcome::Done);
    assert_eq!(history.meanwhile(5500, send(1..2, 2), canceled()).verdict(), Verdict::Explained);
}

#[test]
fn a_name_that_was_resolved_before_its_job_was_deleted_leads_to_the_session() {
    let get = || Call::Get { by: Actor::Creator, target: Target::Name };
    let canceled = || Outcome::Session(Seen::ended(Some(SESSION), State::Canceled));
    let deleted = || HistoryBuilder::new().created(SESSION).then(Call::DeleteJob, Outcome::Done);
    assert_eq!(deleted().meanwhile(2500, get(), canceled()).verdict(), Verdict::Explained);
    assert_eq!(deleted().then(get(), canceled()).verdict(), Verdict::Unexplained);
    let refused = Outcome::Refused(Reason::DocumentNotFound);
    assert_eq!(deleted().then(get(), refused).verdict(), Verdict::Explained);
}

#[test]
fn strangers_are_refused() {
    let get = Call::Get { by: Actor::Other, target: Target::Id(SESSION) };
    let refused = HistoryBuilder::new().created(SESSION).then(get.clone(), Outcome::Refused(Reason::NotSessionOwner));
    assert_eq!(refused.verdict(), Verdict::Explained);
    let shown = HistoryBuilder::new().created(SESSION).deleted(Outcome::Done);
    let shown = shown.then(get, Outcome::Session(Seen::ended(Some(SESSION), State::Canceled)));
    assert_eq!(shown.verdict(), Verdict::Unexplained);
}

#[test]
fn a_contradiction_is_shown_without_the_calls_that_it_does_not_need() {
    let download = || (Call::Download, Outcome::Refused(Reason::DocumentNotUploaded));
    let mut history = HistoryBuilder::new().created(SESSION);
    for _ in 0..5 {
        let (call, outcome) = download();
        history = history.then(call, outcome);
    }
    let history = history.deleted(Outcome::Done);
    let answer = acknowledged(&history, 1);
    let history = history.then(send(0..1, 1), answer).seen(State::Canceled);
    let shortest = super::shrink::shrink(&history.0);
    assert_eq!(shortest.calls.len(), 3, "{shortest}");
}
