//! What the calls of one connection share, and when the connection ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::{CancellationToken, PollSemaphore};

use super::Lifetimes;

/// How many calls without a credential one connection may make at once.
const OPEN_CALLS: usize = 4;

/// How many bytes of the answers to such calls may wait to be sent on one connection.
const OPEN_ANSWER_BYTES: usize = 32 * 1024;

/// How many calls may have come since the last one with a valid credential, before less patience is had with a client
/// that reads nothing. HTTP/2 keeps some 3 KiB for each answer that is not sent.
const MAX_UNPROVED_CALLS: usize = 16;

/// How long such a client may read nothing.
const UNPROVED_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// How much a client takes at least while a download goes on, however slowly. More than the PINGs of an hour.
const MIN_PROGRESS_BYTES: u64 = 64 * 1024;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) lifetimes: Lifetimes,
    /// Canceled when the client is asked to connect again.
    pub(super) closing: CancellationToken,
    /// Never locked across an await.
    calls: Mutex<Calls>,
    open_calls: Arc<Semaphore>,
    /// One permit for each byte of [`OPEN_ANSWER_BYTES`].
    credit: Arc<Semaphore>,
    /// How many of these permits are taken.
    unsent: AtomicUsize,
    /// How many bytes the client's side has taken.
    written: AtomicU64,
    /// Whether a write waits until the client's side takes it.
    is_blocked: AtomicBool,
    /// How many calls over HTTP/2 have begun since the last one with a valid credential.
    unproved_calls: AtomicUsize,
    /// Whether any call had a valid credential.
    was_proved: AtomicBool,
}

/// The calls over HTTP/2 that are in progress.
#[derive(Debug)]
struct Calls {
    count: usize,
    last_end: Instant,
}

/// A call in progress, until this is dropped.
#[derive(Debug)]
pub(super) struct CallInProgress(Arc<Connection>);

/// What one answer to a call without a credential may still hand over to its connection.
#[derive(Debug)]
pub struct Credit {
    semaphore: PollSemaphore,
    connection: Arc<Connection>,
}

impl Connection {
    /// `closing` is canceled when the program stops, and by the connection itself.
    pub(super) fn new(lifetimes: Lifetimes, closing: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            lifetimes,
            closing,
            calls: Mutex::new(Calls { count: 0, last_end: Instant::now() }),
            open_calls: Arc::new(Semaphore::new(OPEN_CALLS)),
            credit: Arc::new(Semaphore::new(OPEN_ANSWER_BYTES)),
            unsent: AtomicUsize::default(),
            written: AtomicU64::default(),
            is_blocked: AtomicBool::default(),
            unproved_calls: AtomicUsize::default(),
            was_proved: AtomicBool::default(),
        })
    }

    pub(super) fn begin_call(self: &Arc<Self>) -> CallInProgress {
        self.unproved_calls.fetch_add(1, Ordering::Relaxed);
        self.calls.lock().count += 1;
        CallInProgress(Arc::clone(self))
    }

    /// Notes whether a write waits until the client's side takes it.
    pub(super) fn note_blocked(&self, is_blocked: bool) {
        self.is_blocked.store(is_blocked, Ordering::Relaxed);
    }

    /// Notes that a call has a valid credential.
    pub(super) fn note_credential(&self) {
        self.unproved_calls.store(0, Ordering::Relaxed);
        self.was_proved.store(true, Ordering::Relaxed);
    }

    /// Whether nothing shows that the client has a valid credential.
    pub(super) fn is_of_stranger(&self) -> bool {
        !self.was_proved.load(Ordering::Relaxed) || self.has_unproved_calls()
    }

    /// Whether many calls have come since the last one with a valid credential.
    fn has_unproved_calls(&self) -> bool {
        self.unproved_calls.load(Ordering::Relaxed) > MAX_UNPROVED_CALLS
    }

    /// How long the client may take nothing.
    pub(super) fn write_timeout(&self) -> Duration {
        if self.has_unproved_calls() { UNPROVED_WRITE_TIMEOUT.min(self.lifetimes.write) } else { self.lifetimes.write }
    }

    /// Completes when there has been no call for this long from now on.
    pub(super) async fn idle_for(&self, limit: Duration) {
        let begun = Instant::now();
        loop {
            let until = {
                let calls = self.calls.lock();
                let is_idle = calls.count == 0;
                let since = if is_idle { calls.last_end.max(begun) } else { Instant::now() };
                let until = since + limit;
                if is_idle && until <= Instant::now() {
                    return;
                }
                until
            };
            sleep_until(until).await;
        }
    }

    /// Completes when there has been no call, and nothing was sent or waits for the client, for this long from now on.
    pub(super) async fn quiet_for(&self, limit: Duration) {
        loop {
            let written = self.written.load(Ordering::Relaxed);
            self.idle_for(limit).await;
            let is_quiet = self.written.load(Ordering::Relaxed) == written;
            if is_quiet && !self.is_blocked.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Completes when the calls in progress have had this long, and nearly nothing was sent in that time. So a download
    /// whose client is slow ends by itself.
    pub(super) async fn used_up(&self, grace: Duration) {
        loop {
            let written = self.written.load(Ordering::Relaxed);
            sleep(grace).await;
            if self.written.load(Ordering::Relaxed) - written < MIN_PROGRESS_BYTES {
                return;
            }
        }
    }

    /// The permit of a call without a credential; `None` if the connection makes too many of them.
    pub(super) fn open_call(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.open_calls).try_acquire_owned().ok()
    }

    pub(super) fn credit(self: &Arc<Self>) -> Credit {
        Credit { semaphore: PollSemaphore::new(Arc::clone(&self.credit)), connection: Arc::clone(self) }
    }

    /// Notes that the client's side has taken these bytes, whatever they belong to.
    pub(super) fn note_written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        let unsent = self.unsent.load(Ordering::Relaxed);
        if unsent == 0 {
            return;
        }
        let returned = unsent.min(bytes);
        self.unsent.fetch_sub(returned, Ordering::Relaxed);
        self.credit.add_permits(returned);
    }
}

impl Credit {
    /// Waits until this many bytes may be handed over.
    pub fn poll_take(&mut self, context: &mut Context<'_>, bytes: usize) -> Poll<()> {
        let wanted = u32::try_from(bytes.min(OPEN_ANSWER_BYTES)).unwrap_or_default();
        if let Some(permit) = ready!(self.semaphore.poll_acquire_many(context, wanted)) {
            permit.forget();
            self.connection.unsent.fetch_add(wanted as usize, Ordering::Relaxed);
        }
        Poll::Ready(())
    }
}

impl Drop for CallInProgress {
    fn drop(&mut self) {
        let mut calls = self.0.calls.lock();
        calls.count -= 1;
        calls.last_end = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_its_last_call() {
        let begun = Instant::now();
        let connection = Connection::new(Lifetimes::with(IDLE, IDLE), CancellationToken::new());
        let call = connection.begin_call();
        let calling = async {
            tokio::time::sleep(IDLE * 10 + Duration::from_secs(1)).await;
            drop(call);
        };
        tokio::join!(connection.idle_for(IDLE), calling);
        assert_eq!(begun.elapsed().as_secs(), 661);
        connection.idle_for(IDLE).await;
        assert_eq!(begun.elapsed().as_secs(), 721, "from now on");
        let writing = async {
            tokio::time::sleep(IDLE / 2).await;
            connection.note_written(1);
        };
        tokio::join!(connection.quiet_for(IDLE), writing);
        assert_eq!(begun.elapsed().as_secs(), 841, "in the first minute a byte was sent");
        connection.note_blocked(true);
        let unblocking = async {
            sleep(IDLE * 3 / 2).await;
            connection.note_blocked(false);
        };
        tokio::join!(connection.quiet_for(IDLE), unblocking);
        assert_eq!(begun.elapsed().as_secs(), 961, "after the first minute a write was waiting");
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_goes_on_while_a_download_goes_on() {
        let begun = Instant::now();
        let connection = Connection::new(Lifetimes::with(IDLE, IDLE), CancellationToken::new());
        let downloading = async {
            for _ in 0..25 {
                sleep(Duration::from_secs(7)).await;
                connection.note_written(MIN_PROGRESS_BYTES as usize);
            }
        };
        tokio::join!(connection.used_up(IDLE), downloading);
        assert_eq!(begun.elapsed().as_secs(), 240, "it goes on for 175 s, and nothing is sent in the fourth minute");
    }

    #[tokio::test]
    async fn what_was_written_may_be_handed_over_again() {
        let connection = Connection::new(Lifetimes::with(IDLE, IDLE), CancellationToken::new());
        let mut credit = connection.credit();
        std::future::poll_fn(|context| credit.poll_take(context, OPEN_ANSWER_BYTES)).await;
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(credit.poll_take(&mut context, 10).is_pending());
        connection.note_written(9);
        assert!(credit.poll_take(&mut context, 10).is_pending());
        connection.note_written(usize::MAX);
        assert!(credit.poll_take(&mut context, 10).is_ready());
        assert_eq!(connection.unsent.load(Ordering::Relaxed), 10);
    }
}
