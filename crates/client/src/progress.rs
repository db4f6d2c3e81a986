//! How far a transfer has come, for whoever shows it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use tokio::sync::watch;

/// How far a transfer has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The document's size in bytes.
    pub size: u64,
    /// Bytes that are safe: acknowledged by the service, or written.
    pub done: u64,
    /// Bytes that are on their way. They count again when a range has to be sent again.
    pub in_flight: u64,
    /// Bytes that were handed over in all, also those that had to be sent again, or that were there and sent to be compared.
    pub sent: u64,
    /// What keeps the transfer back at the moment.
    pub trouble: Option<String>,
}

impl Progress {
    /// Whether everything is safe.
    pub fn is_complete(&self) -> bool {
        self.size > 0 && self.done >= self.size
    }
}

/// One range's part in the progress of an upload. Once this is dropped, nothing of it is on its way any more.
#[derive(Debug)]
pub(super) struct InFlight {
    progress: watch::Sender<Progress>,
    count: Arc<Count>,
    /// Whether the service has the range already: then it is not under way a second time.
    is_known: bool,
}

/// Only touched while the progress is locked, in `send_modify`.
#[derive(Debug, Default)]
struct Count {
    bytes: AtomicU64,
    is_over: AtomicBool,
}

impl InFlight {
    pub(super) fn new(progress: &watch::Sender<Progress>) -> Self {
        Self { progress: progress.clone(), count: Arc::default(), is_known: false }
    }

    /// Of a range that the service has, and that is sent to be compared.
    pub(super) fn known(progress: &watch::Sender<Progress>) -> Self {
        Self { progress: progress.clone(), count: Arc::default(), is_known: true }
    }

    /// To be told of every chunk that is handed over. The body of a range may outlive its call for a moment: what it hands
    /// over then counts no more.
    pub(super) fn counter(&self) -> impl Fn(u64) + Send + use<> {
        let (progress, count, is_known) = (self.progress.clone(), Arc::clone(&self.count), self.is_known);
        move |chunk| {
            progress.send_modify(|progress| {
                if !count.is_over.load(Relaxed) {
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

    /// The service has acknowledged the range.
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
            self.count.is_over.store(true, Relaxed);
            progress.in_flight -= if self.is_known { 0 } else { self.count.bytes.load(Relaxed) };
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_to_be_compared_is_sent_and_not_under_way() {
        let progress = watch::Sender::new(Progress { size: 100, done: 80, ..Progress::default() });
        let (known, missing) = (InFlight::known(&progress), InFlight::new(&progress));
        known.counter()(64);
        missing.counter()(20);
        assert_eq!((known.handed_over(), progress.borrow().in_flight, progress.borrow().sent), (64, 20, 84));
        drop((known, missing));
        assert_eq!((progress.borrow().in_flight, progress.borrow().sent), (0, 84));
    }
}
