//! The progress of a transfer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use tokio::sync::watch;

/// The progress of an upload or a download.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The document's size in bytes.
    pub size: u64,
    /// Bytes that are done: acknowledged by the service, or written to the output.
    pub done: u64,
    /// Bytes of ranges in flight, handed to the connection but not acknowledged.
    pub in_flight: u64,
    /// All bytes that this upload has sent, including those that it sent again, and those that it sent for a
    /// comparison.
    pub sent: u64,
    /// The failure that is being retried.
    pub trouble: Option<String>,
}

impl Progress {
    /// Whether all bytes are done.
    pub fn is_complete(&self) -> bool {
        self.size > 0 && self.done >= self.size
    }
}

/// One range's part in the progress of an upload. When this is dropped, its bytes are no longer in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    progress: watch::Sender<Progress>,
    count: Arc<Count>,
    /// Whether the service has the range already. Then its bytes do not count as in flight.
    is_known: bool,
}

/// Only read and changed while the progress is locked, in `send_modify`.
#[derive(Debug, Default)]
struct Count {
    bytes: AtomicU64,
    has_ended: AtomicBool,
}

impl InFlight {
    pub(super) fn new(progress: &watch::Sender<Progress>) -> Self {
        Self { progress: progress.clone(), count: Arc::default(), is_known: false }
    }

    /// For a range that the service has already, and that is sent for a comparison.
    pub(super) fn known(progress: &watch::Sender<Progress>) -> Self {
        Self { progress: progress.clone(), count: Arc::default(), is_known: true }
    }

    /// Counts every chunk that is handed over. The body of a range may outlive its call for a moment: the chunks that
    /// it hands over then do not count.
    pub(super) fn counter(&self) -> impl Fn(u64) + Send + use<> {
        let (progress, count, is_known) = (self.progress.clone(), Arc::clone(&self.count), self.is_known);
        move |chunk| {
            progress.send_modify(|progress| {
                if !count.has_ended.load(Relaxed) {
                    count.bytes.fetch_add(chunk, Relaxed);
                    progress.in_flight += if is_known { 0 } else { chunk };
                    progress.sent += chunk;
                }
            });
        }
    }

    /// How many bytes have been handed over.
    pub(super) fn handed_over(&self) -> u64 {
        self.count.bytes.load(Relaxed)
    }

    /// Counts the range as acknowledged.
    pub(super) fn acknowledged(&self, bytes: u64) {
        self.progress.send_modify(|progress| {
            progress.done += bytes;
            progress.trouble = None;
        });
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.progress.send_modify(|progress| {
            self.count.has_ended.store(true, Relaxed);
            progress.in_flight -= if self.is_known { 0 } else { self.count.bytes.load(Relaxed) };
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compared_range_counts_as_sent_but_not_as_in_flight() {
        let progress = watch::Sender::new(Progress { size: 100, done: 80, ..Progress::default() });
        let (known, missing) = (InFlight::known(&progress), InFlight::new(&progress));
        known.counter()(64);
        missing.counter()(20);
        assert_eq!((known.handed_over(), progress.borrow().in_flight, progress.borrow().sent), (64, 20, 84));
        drop((known, missing));
        assert_eq!((progress.borrow().in_flight, progress.borrow().sent), (0, 84));
    }
}
