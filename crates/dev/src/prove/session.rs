//! The part of the model that is about one upload session.

use std::ops::Range;

use print_upload_client::Reason;
use uuid::Uuid;

use super::{
    call::{Actor, Outcome, Progress, Seen},
    model::{CELLS, Content, Micros, NEVER},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    /// Unknown while no answer has named it: the answer to its creation was lost.
    pub id: Option<Uuid>,
    pub owner: Actor,
    pub variant: u8,
    pub state: State,
    pub cells: [Content; CELLS],
    /// When it expires, as far as it is known. An answer tells it exactly; an effect whose answer was lost leaves it
    /// open.
    pub earliest_expiry: Micros,
    latest_expiry: Micros,
    /// The range that completed it.
    completing: Option<(Range<usize>, Content)>,
}

/// The states of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    Active,
    Completed,
    Canceled,
    Expired,
}

/// The times that a call depends on.
#[derive(Clone, Copy)]
pub struct Clock {
    /// Before this moment the call cannot have taken effect.
    pub invoked: Micros,
    /// After this moment it cannot take effect any more.
    pub answered: Micros,
    pub idle: Micros,
}

/// A range as it was sent.
pub struct Sent {
    pub cells: Range<usize>,
    pub content: Content,
    pub has_digest: bool,
}

impl Session {
    pub fn new(id: Option<Uuid>, owner: Actor, variant: u8, earliest_expiry: Micros, latest_expiry: Micros) -> Self {
        let (state, cells) = (State::Active, [0; CELLS]);
        Self { id, owner, variant, state, cells, earliest_expiry, latest_expiry, completing: None }
    }

    pub fn send(&mut self, sent: &Sent, outcome: &Outcome, clock: Clock) -> bool {
        match outcome {
            Outcome::Progress(progress) if progress.is_completed => self.complete(sent, clock),
            Outcome::Progress(progress) => self.take(sent, progress, clock),
            Outcome::Unknown => self.take_unseen(sent, clock),
            Outcome::Refused(reason) => self.refuses(sent, *reason, clock),
            _ => false,
        }
    }

    /// An acknowledged range that leaves the session active.
    fn take(&mut self, sent: &Sent, progress: &Progress, clock: Clock) -> bool {
        if !self.can_act(clock) {
            return false;
        }
        let is_repeated = self.count_missing(sent) == 0;
        if is_repeated && !(sent.has_digest && self.has(sent)) {
            return false;
        }
        self.fill(sent);
        let is_expiry =
            if is_repeated { self.expires_at(progress.expiry) } else { self.moved_to(progress.expiry, clock) };
        is_expiry && self.missing() == progress.missing && self.missing().contains(&true)
    }

    /// An acknowledged range that completes the document, or repeats the one that did, or repeats another one while the
    /// document is completed.
    fn complete(&mut self, sent: &Sent, clock: Clock) -> bool {
        if self.state == State::Completed {
            let is_completing = self.completing == Some((sent.cells.clone(), sent.content));
            return is_completing || (sent.has_digest && self.has(sent));
        }
        if !self.can_act(clock) || self.count_missing(sent) == 0 {
            return false;
        }
        self.fill(sent);
        self.complete_if_full(sent)
    }

    fn take_unseen(&mut self, sent: &Sent, clock: Clock) -> bool {
        if !self.can_act(clock) || self.count_missing(sent) == 0 {
            return false;
        }
        self.fill(sent);
        self.complete_if_full(sent);
        self.prolong_unseen(clock);
        true
    }

    fn refuses(&self, sent: &Sent, reason: Reason, clock: Clock) -> bool {
        let missing = self.count_missing(sent);
        match reason {
            Reason::RangeAlreadyReceived => self.can_act(clock) && missing == 0 && !sent.has_digest,
            Reason::DigestConflict => self.can_act(clock) && missing == 0 && sent.has_digest && !self.has(sent),
            Reason::RangeRaced => self.can_act(clock) && (1..sent.cells.len()).contains(&missing),
            reason => Some(reason) == self.ended_reason(),
        }
    }

    pub fn cancel(&mut self, clock: Clock) -> bool {
        if self.state == State::Active {
            self.state = if clock.invoked > self.latest_expiry { State::Expired } else { State::Canceled };
        }
        true
    }

    /// Whether an answer can describe the session. Then what it tells is known.
    pub fn is_seen(&mut self, seen: &Seen, clock: Clock) -> bool {
        self.is_described(seen, clock) && (self.state != State::Active || self.expires_at(seen.progress.expiry))
    }

    /// The same without the expiry, which the call may have moved.
    pub fn is_described(&mut self, seen: &Seen, clock: Clock) -> bool {
        if self.id.is_none() {
            self.id = seen.id;
        }
        if (self.id, self.state) != (seen.id, seen.state) {
            return false;
        }
        self.state != State::Active || (self.can_act(clock) && self.missing() == seen.progress.missing)
    }

    /// Whether the session can expire at this moment, if the call has not moved it. Then it is known.
    fn expires_at(&mut self, expiry: Micros) -> bool {
        let is_possible = (self.earliest_expiry..=self.latest_expiry).contains(&expiry);
        (self.earliest_expiry, self.latest_expiry) = (expiry, expiry);
        is_possible
    }

    /// Whether the call can have moved the expiry to this moment. Then it is known.
    pub fn moved_to(&mut self, expiry: Micros, clock: Clock) -> bool {
        let is_possible = expiry >= self.earliest_expiry.max(clock.invoked + clock.idle);
        (self.earliest_expiry, self.latest_expiry) = (expiry, expiry);
        is_possible
    }

    pub fn prolong_unseen(&mut self, clock: Clock) {
        self.earliest_expiry = self.earliest_expiry.max(clock.invoked + clock.idle);
        self.latest_expiry = NEVER;
    }

    /// Whether it is active, and not certainly past its expiry.
    fn can_act(&self, clock: Clock) -> bool {
        self.state == State::Active && clock.invoked < self.latest_expiry
    }

    fn fill(&mut self, sent: &Sent) {
        for cell in &mut self.cells[sent.cells.clone()] {
            if *cell == 0 {
                *cell = sent.content;
            }
        }
    }

    fn complete_if_full(&mut self, sent: &Sent) -> bool {
        if self.cells.contains(&0) {
            return false;
        }
        self.state = State::Completed;
        self.completing = Some((sent.cells.clone(), sent.content));
        true
    }

    fn has(&self, sent: &Sent) -> bool {
        self.cells[sent.cells.clone()].iter().all(|cell| *cell == sent.content)
    }

    fn count_missing(&self, sent: &Sent) -> usize {
        self.cells[sent.cells.clone()].iter().filter(|cell| **cell == 0).count()
    }

    fn missing(&self) -> [bool; CELLS] {
        self.cells.map(|cell| cell == 0)
    }

    /// The reason of a refusal because the session has ended.
    pub fn ended_reason(&self) -> Option<Reason> {
        match self.state {
            State::Active => None,
            State::Completed => Some(Reason::UploadSessionCompleted),
            State::Canceled => Some(Reason::UploadSessionCanceled),
            State::Expired => Some(Reason::UploadSessionExpired),
        }
    }
}
