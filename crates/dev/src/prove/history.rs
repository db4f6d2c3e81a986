//! What was called and answered on one document, and whether a sequence of single steps explains it.

use std::{cell::Cell, fmt, time::Duration};

use print_upload_client::Reason;
use todc_utils::{
    Specification, WGLChecker,
    linearizability::history::{Action, History as Actions},
};
use uuid::Uuid;

use super::{
    call::{Call, Outcome},
    model::{Document, Event, Micros, NEVER},
    session::State,
};

/// Every call on one document, with its outcome.
#[derive(Debug, Clone)]
pub struct History {
    /// Which one it is: the round's seed and its number in the round.
    pub seed: u64,
    pub number: usize,
    pub document: Uuid,
    /// The service's `--session-idle-timeout`.
    pub idle_timeout: Duration,
    pub calls: Vec<Recorded>,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub client: usize,
    /// Where it was sent, for example `replica 0`.
    pub via: &'static str,
    pub call: Call,
    pub outcome: Outcome,
    pub invoked: Micros,
    /// When the answer was there. Unknown outcomes have none that counts.
    pub answered: Micros,
}

/// Whether the answers of a history can be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order of single steps, each between its call and its answer, in which the model gives these answers.
    Explained,
    /// There is none.
    Unexplained,
    /// The search was given up after [`MAX_STEPS`].
    Undecided,
}

/// How many steps of the model a search may try. Most histories need a few hundred.
const MAX_STEPS: u32 = 4_000_000;

/// The same, as long as few calls are assumed to have taken effect unseen.
const MAX_STEPS_OF_FEW: u32 = 20_000;

thread_local! {
    /// How many steps the search on this thread may still try. The checker has no limit of its own.
    static STEPS_LEFT: Cell<u32> = const { Cell::new(0) };
}

/// The rules of one document, for the checker.
struct Rules;

impl Specification for Rules {
    type State = Document;
    type Operation = Event;

    fn init() -> Document {
        Document::default()
    }

    fn apply(event: &Event, document: &Document) -> (bool, Document) {
        let left = STEPS_LEFT.get();
        if left == 0 {
            return (false, document.clone());
        }
        STEPS_LEFT.set(left - 1);
        event.apply(document).map_or_else(|| (false, document.clone()), |after| (true, after))
    }
}

/// An event, and the times between which it happens.
struct Interval {
    event: Event,
    from: Micros,
    until: Micros,
}

impl History {
    /// Looks for an order of single steps that explains every answer.
    ///
    /// Calls that may have taken effect unseen make the search long: each may do so at any time. Usually few of them
    /// did. So first at most a few are assumed to have taken effect; if that explains the answers, they are explained.
    pub fn verdict(&self) -> Verdict {
        let unseen: Vec<usize> = (0..self.calls.len()).filter(|call| self.calls[*call].may_act_unseen()).collect();
        for few in few_of(&unseen) {
            if self.search(&few, MAX_STEPS_OF_FEW) == Verdict::Explained {
                return Verdict::Explained;
            }
        }
        self.search(&unseen, MAX_STEPS)
    }

    /// The same, if only these of the calls may have taken effect unseen.
    fn search(&self, unseen: &[usize], max_steps: u32) -> Verdict {
        let intervals = self.intervals(unseen);
        // At the same microsecond calls come before answers: nothing is known about their order.
        let mut actions: Vec<(Micros, bool, usize)> = Vec::new();
        for (number, interval) in intervals.iter().enumerate() {
            actions.push((interval.from, false, number));
            actions.push((interval.until, true, number));
        }
        actions.sort_unstable();
        let actions = actions.into_iter().map(|(_, is_answer, number)| {
            let event = intervals[number].event.clone();
            (number, if is_answer { Action::Response(event) } else { Action::Call(event) })
        });
        STEPS_LEFT.set(max_steps);
        let is_explained = WGLChecker::<Rules>::is_linearizable(Actions::from_actions(actions.collect()));
        match is_explained {
            true => Verdict::Explained,
            false if STEPS_LEFT.get() == 0 => Verdict::Undecided,
            false => Verdict::Unexplained,
        }
    }

    pub fn is_unexplained(&self) -> bool {
        self.verdict() == Verdict::Unexplained
    }

    /// The events of the history. What may happen at any later time comes before [`Event::Over`], or never happens.
    fn intervals(&self, unseen: &[usize]) -> Vec<Interval> {
        let last = self.calls.iter().map(|call| call.answered).max().unwrap_or_default();
        let over = Interval { event: Event::Over, from: last + 1, until: last + 2 };
        let mut intervals = vec![over];
        let mut expiries = Vec::new();
        for (number, call) in self.calls.iter().enumerate() {
            if call.outcome == Outcome::Nothing || (call.outcome == Outcome::Unknown && call.only_reads()) {
                continue;
            }
            if unseen.contains(&number) {
                let event = self.event(call, Outcome::Unknown, NEVER);
                intervals.push(Interval { event, from: call.invoked, until: NEVER });
            }
            if call.outcome != Outcome::Unknown {
                let event = self.event(call, call.outcome.clone(), call.answered);
                intervals.push(Interval { event, from: call.invoked, until: call.answered });
            }
            expiries.extend(self.expiry_after(call));
        }
        expiries.sort_unstable();
        expiries.dedup();
        let expires = expiries.into_iter().filter(|at| *at <= last);
        intervals.extend(expires.map(|at| Interval { event: Event::Expire { at }, from: at, until: NEVER }));
        intervals
    }

    fn event(&self, call: &Recorded, outcome: Outcome, answered: Micros) -> Event {
        let Recorded { call, invoked, .. } = call.clone();
        Event::Call { call, outcome, invoked, answered, idle_timeout: self.idle_timeout }
    }

    /// When the session can expire at the earliest, if the call has moved its expiry.
    fn expiry_after(&self, call: &Recorded) -> Option<Micros> {
        match &call.outcome {
            Outcome::Session(seen) if seen.state == State::Active => Some(seen.progress.expiry),
            Outcome::Progress(progress) if !progress.is_completed => Some(progress.expiry),
            _ if call.may_act_unseen() => {
                Some(call.invoked + Micros::try_from(self.idle_timeout.as_micros()).unwrap_or_default())
            }
            _ => None,
        }
    }
}

/// Every choice of at most three of these.
fn few_of(all: &[usize]) -> Vec<Vec<usize>> {
    let mut choices = vec![vec![]];
    for (position, first) in all.iter().enumerate() {
        choices.push(vec![*first]);
        for (next, second) in all.iter().enumerate().skip(position + 1) {
            choices.push(vec![*first, *second]);
            choices.extend(all.iter().skip(next + 1).map(|third| vec![*first, *second, *third]));
        }
    }
    choices.sort_by_key(Vec::len);
    choices
}

impl Recorded {
    /// Whether it may have taken effect although the answer does not say so. A range that was committed is not
    /// acknowledged once its session has ended, or its document was deleted.
    fn may_act_unseen(&self) -> bool {
        let ended = [Reason::UploadSessionCanceled, Reason::UploadSessionExpired, Reason::DocumentNotFound];
        match &self.outcome {
            Outcome::Unknown => true,
            Outcome::Refused(reason) => matches!(self.call, Call::Send { .. }) && ended.contains(reason),
            _ => false,
        }
    }

    pub fn only_reads(&self) -> bool {
        matches!(self.call, Call::Get { .. } | Call::Download)
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "document {} (seed {}, history {})", self.document, self.seed, self.number)?;
        let begin = self.calls.iter().map(|call| call.invoked).min().unwrap_or_default();
        let mut calls: Vec<&Recorded> = self.calls.iter().collect();
        calls.sort_by_key(|call| call.invoked);
        for call in calls {
            let Recorded { client, via, invoked, answered, .. } = call;
            let (from, until) = ((invoked - begin) as f64 / 1e3, (answered - begin) as f64 / 1e3);
            writeln!(
                f,
                "{from:10.1} to {until:10.1} ms  client {client}, {via}: {:?} -> {:?}",
                call.call, call.outcome
            )?;
        }
        Ok(())
    }
}
