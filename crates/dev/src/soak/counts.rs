//! What was called, and what was refused.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use super::api::Failed;

/// Counts calls.
#[derive(Debug, Default)]
pub struct Counts {
    /// By transport and kind.
    pub calls: RefCell<BTreeMap<String, u64>>,
    /// Expected refusals, by reason.
    pub refusals: RefCell<BTreeMap<&'static str, u64>>,
    /// Refusals by limits, by reason.
    pub limits: RefCell<BTreeMap<&'static str, u64>>,
    /// Calls that were made again, because there was no answer.
    pub repeats: Cell<u64>,
    /// Scenes that were played.
    pub scenes: Cell<u64>,
    /// Scenes that were left out, to bound the load.
    pub left_out: Cell<u64>,
}

impl Counts {
    pub fn call(&self, transport: &str, kind: &str) {
        *self.calls.borrow_mut().entry(format!("{transport} {kind}")).or_default() += 1;
    }

    pub fn failed(&self, failed: &Failed) {
        let Some(reason) = failed.reason() else { return };
        let counts = if failed.is_limit() { &self.limits } else { &self.refusals };
        *counts.borrow_mut().entry(reason.wire_name()).or_default() += 1;
    }

    pub fn add(count: &Cell<u64>) {
        count.set(count.get() + 1);
    }

    /// All calls, refused ones as well.
    pub fn total(&self) -> u64 {
        self.calls.borrow().values().sum()
    }

    /// All calls that limits have refused.
    pub fn limited(&self) -> u64 {
        self.limits.borrow().values().sum()
    }
}
