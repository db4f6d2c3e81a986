//! What the attacker has done, and what became of its connections and calls.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::seconds_since;

#[derive(Debug, Default)]
pub struct Counts {
    pub connections: AtomicU64,
    pub bytes: AtomicU64,
    /// Frames, calls, or what else the act repeats.
    pub units: AtomicU64,
    endings: Mutex<BTreeMap<String, Ending>>,
    answers: Mutex<BTreeMap<String, u64>>,
    begun: Mutex<Option<(Instant, f64)>>,
}

/// Connections that have ended in the same way.
#[derive(Debug, Clone, Copy)]
struct Ending {
    count: u64,
    first_seconds: f64,
    last_seconds: f64,
}

impl Counts {
    pub fn begin(&self, cpu_seconds: f64) {
        *self.begun.lock() = Some((Instant::now(), cpu_seconds));
    }

    pub fn add_unit(&self) {
        self.add_units(1);
    }

    pub fn add_units(&self, units: usize) {
        self.units.fetch_add(units as u64, Ordering::Relaxed);
    }

    pub fn add_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts what the service has answered.
    pub fn add_answer(&self, answer: String) {
        *self.answers.lock().entry(answer).or_default() += 1;
    }

    /// Counts a connection that has ended after so many seconds.
    pub fn add_ending(&self, how: String, seconds: f64) {
        let mut endings = self.endings.lock();
        let new = Ending { count: 0, first_seconds: seconds, last_seconds: seconds };
        let ending = endings.entry(how).or_insert(new);
        ending.count += 1;
        ending.first_seconds = ending.first_seconds.min(seconds);
        ending.last_seconds = ending.last_seconds.max(seconds);
    }

    pub fn report(&self, cpu_seconds: f64) -> Value {
        let begun = *self.begun.lock();
        let endings = self.endings.lock().clone();
        let ending = |(how, ending): (&String, &Ending)| json!({"how": how, "count": ending.count, "first": ending.first_seconds, "last": ending.last_seconds});
        json!({
            "connections": self.connections.load(Ordering::Relaxed),
            "bytes": self.bytes.load(Ordering::Relaxed),
            "units": self.units.load(Ordering::Relaxed),
            "seconds": begun.map_or(0.0, |(begun, _)| seconds_since(begun)),
            "cpuSeconds": begun.map_or(0.0, |(_, before)| cpu_seconds - before),
            "endings": endings.iter().map(ending).collect::<Vec<_>>(),
            "answers": self.answers.lock().clone(),
        })
    }
}
