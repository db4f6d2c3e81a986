//! A call over HTTP/2: a task, which is reset when its caller does not take the answer.
//!
//! hyper hands an answer over to HTTP/2 in the chunks of its body, and then waits without a limit until the caller's
//! window has room for a part of the chunk. Only then does it ask for the next one.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use hyper::rt;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};

use super::connection::{Connection, Credit};

/// How long a caller may take nothing of an answer whose length is known: a short text.
const SHORT_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

tokio::task_local! {
    /// The call that this task answers.
    static CURRENT: Call;
}

/// A call over HTTP/2. It is among the extensions of its request.
#[derive(Debug, Clone)]
pub struct Call(Arc<State>);

#[derive(Debug)]
struct State {
    connection: Arc<Connection>,
    /// How long the caller may take nothing of the answer, in milliseconds.
    answer_timeout: AtomicU64,
    /// How many chunks of the answer hyper has received, and the number of the last one that it has passed on. Only the
    /// call's own task uses them.
    received: AtomicU64,
    passed_on: AtomicU64,
}

/// Starts the tasks of a connection's calls.
#[derive(Debug, Clone)]
pub(super) struct CallExecutor(pub(super) Arc<Connection>);

/// The body of an answer.
struct AnswerBody {
    body: Body,
    call: Call,
}

impl<Answering> rt::Executor<Answering> for CallExecutor
where
    Answering: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, answering: Answering) {
        let (call, in_progress) = (Call::new(Arc::clone(&self.0)), self.0.begin_call());
        let current = call.clone();
        let answered = async move {
            call.answer(answering).await;
            drop(in_progress);
        };
        tokio::spawn(CURRENT.scope(current, answered));
    }
}

impl Call {
    fn new(connection: Arc<Connection>) -> Self {
        let answer_timeout = AtomicU64::new(as_millis(connection.lifetimes.answer));
        Self(Arc::new(State {
            connection,
            answer_timeout,
            received: AtomicU64::default(),
            passed_on: AtomicU64::default(),
        }))
    }

    /// The call that this task answers; `None` over HTTP/1.1.
    pub(super) fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// The permit of a call without a credential; `None` if its connection makes too many of them at once.
    pub fn open_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.0.connection.open_call()
    }

    /// What the answer to a call without a credential may hand over.
    pub fn credit(&self) -> Credit {
        self.0.connection.credit()
    }

    /// Completes when the client is asked to connect again: the connection is too old, or the program stops.
    pub async fn closing(&self) {
        self.0.connection.closing.cancelled().await;
    }

    /// Resets the call when its caller takes nothing of the answer for this long.
    pub fn limit_answer(&self, timeout: Duration) {
        self.0.answer_timeout.fetch_min(as_millis(timeout), Ordering::Relaxed);
    }

    /// The body of the call's answer, observed.
    pub(super) fn observe(self, body: Body) -> Body {
        if body.size_hint().exact().is_some() {
            self.limit_answer(SHORT_ANSWER_TIMEOUT);
        }
        Body::new(AnswerBody { body, call: self })
    }

    /// Runs until the answer has been handed over. Ends early, which resets the call, if its caller does not take it.
    async fn answer(&self, answering: impl Future<Output = ()>) {
        let mut answering = pin!(answering);
        let mut waiting: Option<(u64, Pin<Box<Sleep>>)> = None;
        let answered = std::future::poll_fn(|context| {
            if answering.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let Some(chunk) = self.waiting_chunk() else {
                waiting = None;
                return Poll::Pending;
            };
            if waiting.as_ref().is_none_or(|(waits, _)| *waits != chunk) {
                let timeout = Duration::from_millis(self.0.answer_timeout.load(Ordering::Relaxed));
                waiting = Some((chunk, Box::pin(sleep(timeout))));
            }
            waiting.as_mut().map_or(Poll::Pending, |(_, timeout)| timeout.as_mut().poll(context))
        });
        answered.await;
    }

    /// The number of the chunk that waits for room in the caller's window.
    fn waiting_chunk(&self) -> Option<u64> {
        let received = self.0.received.load(Ordering::Relaxed);
        (received != self.0.passed_on.load(Ordering::Relaxed)).then_some(received)
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let received = self.call.0.received.load(Ordering::Relaxed);
        self.call.0.passed_on.store(received, Ordering::Relaxed);
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && frame.data_ref().is_some_and(|chunk| !chunk.is_empty())
        {
            self.call.0.received.store(received + 1, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
