//! How fast connections are read whose clients have presented no valid credential. Small frames of HTTP/2 cost a client
//! next to nothing: without a limit, a few connections would take all of the processor with them.

use std::{
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::{Sleep, sleep};

use super::connection::Connection;

/// How many bytes of a connection are read at once in any case: several times what a client sends before its first call
/// is authenticated. So strangers do not slow down others.
const FREE_BYTES: usize = 64 * 1024;

/// How many more bytes a second are read of all strangers on a listener: 100,000 of the smallest frames.
const STRANGERS_BYTES: NonZeroU32 = NonZeroU32::new(1024 * 1024).expect("not zero");

/// How long a connection waits before it tries again to be read.
const PAUSE: Duration = Duration::from_millis(10);

/// What all strangers on a listener may send.
#[derive(Debug, Clone)]
pub(super) struct Strangers(Arc<DefaultDirectRateLimiter>);

/// How fast one connection is read.
#[derive(Debug)]
pub(super) struct Pace {
    strangers: Strangers,
    free: usize,
    /// The bytes that were read and that are not counted yet.
    uncounted: usize,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Strangers {
    pub(super) fn new() -> Self {
        Self(Arc::new(RateLimiter::direct(Quota::per_second(STRANGERS_BYTES))))
    }

    /// Counts bytes, unless too many have come.
    fn try_count(&self, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Some(bytes) = NonZeroU32::new(bytes.min(STRANGERS_BYTES.get())) else { return true };
        self.0.check_n(bytes).is_ok_and(|counted| counted.is_ok())
    }
}

impl Pace {
    pub(super) fn new(strangers: Strangers) -> Self {
        Self { strangers, free: FREE_BYTES, uncounted: 0, pause: None }
    }

    /// Completes when the connection may be read.
    pub(super) fn poll_turn(&mut self, connection: &Connection, context: &mut Context<'_>) -> Poll<()> {
        while self.uncounted > 0 && connection.is_of_stranger() && !self.strangers.try_count(self.uncounted) {
            ready!(self.pause.get_or_insert_with(|| Box::pin(sleep(PAUSE))).as_mut().poll(context));
            self.pause = None;
        }
        self.uncounted = 0;
        Poll::Ready(())
    }

    /// Notes what was read.
    pub(super) fn note_read(&mut self, bytes: usize) {
        let free = bytes.min(self.free);
        self.free -= free;
        self.uncounted = bytes - free;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::listen::Lifetimes;

    const SECOND: Duration = Duration::from_secs(1);
    const ALL: usize = STRANGERS_BYTES.get() as usize;

    #[tokio::test(start_paused = true)]
    async fn a_stranger_is_read_slowly_until_it_has_a_credential() {
        let connection = Connection::new(Lifetimes::with(SECOND, SECOND), CancellationToken::new());
        let strangers = Strangers::new();
        let (mut flood, mut other) = (Pace::new(strangers.clone()), Pace::new(strangers));
        let mut context = Context::from_waker(Waker::noop());
        let mut may_be_read = |pace: &mut Pace| pace.poll_turn(&connection, &mut context).is_ready();
        flood.note_read(FREE_BYTES + ALL);
        assert!(may_be_read(&mut flood), "as much as comes in a second");

        flood.note_read(ALL);

        assert!(!may_be_read(&mut flood));
        other.note_read(FREE_BYTES);
        assert!(may_be_read(&mut other), "others are read as before");
        connection.note_credential();
        tokio::time::advance(PAUSE).await;
        assert!(may_be_read(&mut flood));
    }
}
