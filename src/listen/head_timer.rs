//! The time limits of an HTTP/1.1 connection before a request: how long it may wait for one, and how long the request's
//! head may take once it has begun. hyper has one limit for both.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time,
};
use tokio_util::io::InspectReader;

/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether bytes have arrived since hyper began to wait for a head.
type HasBegun = Arc<AtomicBool>;

/// The timer of one connection. hyper asks it for nothing but the wait for a head: the deadline is that of an idle
/// connection, until a byte arrives. The first head has begun before hyper waits for it, because its first bytes show
/// which protocol the client speaks.
#[derive(Debug)]
pub struct HeadTimer {
    has_begun: HasBegun,
    is_first: AtomicBool,
}

struct HeadSleep {
    has_begun: HasBegun,
    is_head: bool,
    sleep: Pin<Box<time::Sleep>>,
}

/// The timer of a connection, and the connection with which it works: that one notes when bytes arrive.
pub fn with_timer<Connection>(connection: Connection) -> (HeadTimer, impl AsyncRead + AsyncWrite + Unpin + Send)
where
    Connection: AsyncRead + AsyncWrite + Unpin + Send,
{
    let has_begun = HasBegun::default();
    let timer = HeadTimer { has_begun: Arc::clone(&has_begun), is_first: AtomicBool::new(true) };
    let note = move |bytes: &[u8]| {
        if !bytes.is_empty() {
            has_begun.store(true, Ordering::Relaxed);
        }
    };
    (timer, InspectReader::new(connection, note))
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        if !self.is_first.swap(false, Ordering::Relaxed) {
            self.has_begun.store(false, Ordering::Relaxed);
        }
        let sleep = Box::pin(time::sleep_until(deadline.into()));
        Box::pin(HeadSleep { has_begun: Arc::clone(&self.has_begun), is_head: false, sleep })
    }

    fn now(&self) -> Instant {
        time::Instant::now().into()
    }
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_head && self.has_begun.load(Ordering::Relaxed) {
            self.is_head = true;
            self.sleep.as_mut().reset(time::Instant::now() + HEAD_TIMEOUT);
        }
        self.sleep.as_mut().poll(context)
    }
}

impl Sleep for HeadSleep {}
