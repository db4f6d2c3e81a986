//! How many calls were made.

use std::{cell::RefCell, collections::BTreeMap, fmt::Display};

/// Counts by the kind of call.
#[derive(Default)]
pub(super) struct Counts {
    calls: RefCell<BTreeMap<String, Count>>,
    /// The failures that were retried, by their text.
    failures: RefCell<BTreeMap<String, u64>>,
}

#[derive(Default)]
struct Count {
    ended: u64,
    retried: u64,
    most_attempts: u32,
}

impl Counts {
    /// A call has ended, with success or with a refusal that its caller expects, at attempt `attempt`, from 1.
    pub(super) fn ended(&self, kind: String, attempt: u32) {
        let mut calls = self.calls.borrow_mut();
        let count = calls.entry(kind).or_default();
        count.ended += 1;
        count.retried += u64::from(attempt > 1);
        count.most_attempts = count.most_attempts.max(attempt);
    }

    /// An attempt has failed, and is retried.
    pub(super) fn failed(&self, error: &impl Display) {
        // Without addresses and ids, which would make every failure its own kind.
        let text: String = error.to_string().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        *self.failures.borrow_mut().entry(text).or_default() += 1;
    }

    pub(super) fn print(&self) {
        println!("{:32} {:>8} {:>8} {:>14}", "calls", "ended", "retried", "most attempts");
        let calls = self.calls.borrow();
        for (kind, count) in calls.iter() {
            println!("{kind:32} {:8} {:8} {:14}", count.ended, count.retried, count.most_attempts);
        }
        let sum = |of: fn(&Count) -> u64| calls.values().map(of).sum::<u64>();
        println!("{:32} {:8} {:8}", "all", sum(|count| count.ended), sum(|count| count.retried));
        println!("attempts that failed and were retried:");
        for (failure, count) in self.failures.borrow().iter() {
            println!("{count:8}  {failure}");
        }
    }
}
