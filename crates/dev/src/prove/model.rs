//! The sequential model of one document: its job, its upload sessions, and what every call may return. It is a set of
//! plain rules, written from docs/security.md and the proto's comments, and knows nothing of the service's code.

use std::time::Duration;

use print_upload_client::Reason;
use uuid::Uuid;

use super::{
    call::{Actor, Call, Outcome, Seen, Target},
    session::{Clock, Sent, Session, State},
};

/// A document is this many cells long. Ranges begin and end at cells.
pub const CELLS: usize = 6;

/// Microseconds since the Unix epoch: the unit of Postgres.
pub type Micros = i64;

/// The bytes that one caller sent for a cell. 0: none, the cell is missing.
pub type Content = u16;

/// A time after every other.
pub const NEVER: Micros = Micros::MAX;

/// What a document is, and what happened to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Document {
    job: Job,
    /// Oldest first. At most one is active.
    sessions: Vec<Session>,
    /// If the job is deleted: the latest moment at which it can have been.
    deleted_until: Micros,
    /// All calls have been made: what has not taken effect yet never will.
    is_over: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Job {
    #[default]
    Open,
    Canceled,
    Deleted,
}

/// Something that happens to a document at one moment between `invoked` and `answered`.
#[derive(Debug, Clone)]
pub enum Event {
    /// A call. Its answer may be unknown: then it takes effect at any later moment, or never.
    Call { call: Call, outcome: Outcome, invoked: Micros, answered: Micros, idle_timeout: Duration },
    /// The active session expires, if `at` is the earliest moment at which it may.
    Expire { at: Micros },
    /// The last call was answered.
    Over,
}

impl Event {
    /// The document after the event, or `None` if the event cannot happen to it.
    pub fn apply(&self, document: &Document) -> Option<Document> {
        let mut after = document.clone();
        let is_possible = match self {
            Self::Over => {
                after.is_over = true;
                true
            }
            Self::Expire { at } => document.is_over || after.expire(*at),
            Self::Call { outcome: Outcome::Unknown, .. } if document.is_over => true,
            Self::Call { call, outcome, invoked, answered, idle_timeout } => {
                let idle = Micros::try_from(idle_timeout.as_micros()).unwrap_or(NEVER);
                let clock = Clock { invoked: *invoked, answered: *answered, idle };
                after.call(call, outcome, clock) && after.has_unique_ids()
            }
        };
        is_possible.then_some(after)
    }
}

impl Document {
    fn expire(&mut self, at: Micros) -> bool {
        let overdue = self.active().filter(|session| session.earliest_expiry == at);
        overdue.map(|session| session.state = State::Expired).is_some()
    }

    /// Changes the document as the call does. Returns whether the call can have this outcome.
    fn call(&mut self, call: &Call, outcome: &Outcome, clock: Clock) -> bool {
        match call {
            Call::Create { by, variant } => self.create(*by, *variant, outcome, clock),
            Call::Send { session, cells, content, has_digest } => {
                let sent = Sent { cells: cells.clone(), content: *content, has_digest: *has_digest };
                let is_deleted = self.job == Job::Deleted;
                self.session(*session).is_some_and(|session| match outcome {
                    // There is no document any more that the answer could describe.
                    Outcome::Refused(Reason::DocumentNotFound) => is_deleted && session.state == State::Completed,
                    outcome => session.send(&sent, outcome, clock),
                })
            }
            Call::Get { by, target } => self.get(*by, *target, outcome, clock),
            Call::Delete { by, target } => self.delete(*by, *target, outcome, clock),
            Call::CancelJob => self.end_job(Job::Canceled, outcome, clock),
            Call::DeleteJob => self.end_job(Job::Deleted, outcome, clock),
            Call::Download => self.download(outcome),
        }
    }

    fn create(&mut self, by: Actor, variant: u8, outcome: &Outcome, clock: Clock) -> bool {
        let job = self.job;
        let is_completed = self.sessions.iter().any(|session| session.state == State::Completed);
        let is_other = self.active().is_some_and(|active| (active.owner, active.variant) != (by, variant));
        match outcome {
            Outcome::Refused(Reason::PrintJobCanceled) => job == Job::Canceled,
            Outcome::Refused(Reason::DocumentNotFound | Reason::PrintJobNotFound) => job == Job::Deleted,
            _ if job != Job::Open => false,
            Outcome::Refused(Reason::UploadSessionActive) => is_other,
            Outcome::Refused(Reason::DocumentAlreadyUploaded) => is_completed,
            Outcome::Session(_) | Outcome::Unknown if is_other || is_completed => false,
            Outcome::Session(seen) => self.open(by, variant, seen, clock),
            Outcome::Unknown => {
                let expiry = clock.invoked + clock.idle;
                match self.active() {
                    Some(active) => active.prolong_unseen(clock),
                    None => self.sessions.push(Session::new(None, by, variant, expiry, NEVER)),
                }
                true
            }
            _ => false,
        }
    }

    /// A new session, or the caller's active one.
    fn open(&mut self, by: Actor, variant: u8, seen: &Seen, clock: Clock) -> bool {
        let expiry = seen.progress.expiry;
        if let Some(active) = self.active() {
            return active.is_described(seen, clock) && active.moved_to(expiry, clock);
        }
        self.sessions.push(Session::new(seen.id, by, variant, expiry, expiry));
        expiry >= clock.invoked + clock.idle && seen.progress.missing == [true; CELLS]
    }

    fn get(&mut self, by: Actor, target: Target, outcome: &Outcome, clock: Clock) -> bool {
        let owned = match self.find(by, target, outcome, clock) {
            Found::Refused(is_right) => return is_right,
            Found::Owned(session) => session,
        };
        match outcome {
            Outcome::Session(seen) => owned.is_seen(seen, clock),
            Outcome::Refused(reason) => Some(*reason) == owned.ended_reason(),
            _ => false,
        }
    }

    fn delete(&mut self, by: Actor, target: Target, outcome: &Outcome, clock: Clock) -> bool {
        let owned = match self.find(by, target, outcome, clock) {
            Found::Refused(is_right) => return is_right,
            Found::Owned(session) => session,
        };
        match outcome {
            Outcome::Refused(Reason::UploadSessionCompleted) => owned.state == State::Completed,
            Outcome::Done => owned.state != State::Completed && owned.cancel(clock),
            Outcome::Unknown => owned.state == State::Active && owned.cancel(clock),
            _ => false,
        }
    }

    fn end_job(&mut self, end: Job, outcome: &Outcome, clock: Clock) -> bool {
        if self.job == Job::Deleted && end == Job::Canceled {
            return matches!(outcome, Outcome::Refused(Reason::DocumentNotFound | Reason::PrintJobNotFound));
        }
        let is_repeated = self.job == end;
        self.job = end;
        if !is_repeated {
            self.deleted_until = clock.answered;
        }
        if let Some(active) = self.active() {
            active.cancel(clock);
        }
        match outcome {
            Outcome::Done => true,
            Outcome::Unknown => !is_repeated,
            _ => false,
        }
    }

    fn download(&self, outcome: &Outcome) -> bool {
        let completed = self.sessions.iter().find(|session| session.state == State::Completed);
        match outcome {
            // Of a deleted job the bytes are dropped, also while they are read.
            Outcome::Refused(Reason::DocumentNotFound | Reason::PrintJobNotFound | Reason::BytesMissing) => {
                self.job == Job::Deleted
            }
            Outcome::Refused(Reason::DocumentNotUploaded) => self.job != Job::Deleted && completed.is_none(),
            Outcome::Content(bytes) => {
                self.job != Job::Deleted && completed.is_some_and(|completed| completed.cells == *bytes)
            }
            _ => false,
        }
    }

    fn active(&mut self) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.state == State::Active)
    }

    fn session(&mut self, id: Uuid) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == Some(id))
    }

    /// The session that a name means for a caller, or whether the call is refused rightly.
    fn find(&mut self, by: Actor, target: Target, outcome: &Outcome, clock: Clock) -> Found<'_> {
        if target == Target::Name && self.job == Job::Deleted {
            let is_refused = matches!(outcome, Outcome::Refused(Reason::DocumentNotFound | Reason::PrintJobNotFound));
            // A name is resolved first. If the job is deleted then, the session is still found by its id.
            if is_refused || clock.invoked > self.deleted_until {
                return Found::Refused(is_refused);
            }
        }
        let index = match target {
            Target::Id(id) => self.sessions.iter().position(|session| session.id == Some(id)),
            Target::Name => self.named(by),
        };
        match index.map(|index| &mut self.sessions[index]) {
            None => Found::Refused(matches!(outcome, Outcome::Refused(Reason::UploadSessionNotFound))),
            Some(session) if session.owner != by => {
                Found::Refused(matches!(outcome, Outcome::Refused(Reason::NotSessionOwner)))
            }
            Some(session) => Found::Owned(session),
        }
    }

    fn has_unique_ids(&self) -> bool {
        let mut ids: Vec<Uuid> = self.sessions.iter().filter_map(|session| session.id).collect();
        ids.sort_unstable();
        ids.is_sorted_by(|one, next| one < next)
    }

    /// The caller's active session, else the caller's latest; else anybody's active one, else anybody's latest.
    fn named(&self, by: Actor) -> Option<usize> {
        let rank = |index: &usize| {
            let session = &self.sessions[*index];
            (session.owner == by, session.state == State::Active, *index)
        };
        (0..self.sessions.len()).max_by_key(rank)
    }
}

enum Found<'a> {
    Owned(&'a mut Session),
    /// Whether the outcome is the refusal that is due.
    Refused(bool),
}
