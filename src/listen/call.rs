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

/// How many bytes of an answer HTTP/2 may keep when the call has ended. What belongs to the call, such as the permit of
/// a download, is returned when no more than these wait to be sent.
pub(super) const MAX_UNSENT_BYTES: usize = 16 * 1024;

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
    /// The last byte of a chunk that has been handed over without it.
    last_byte: Option<Bytes>,
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

    /// Notes that the call has a valid credential. A connection whose calls have none may leave less unread.
    pub fn note_credential(&self) {
        self.0.connection.note_credential();
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
        Body::new(AnswerBody { body, last_byte: None, call: self })
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
        let polled = self.poll_piece(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && frame.data_ref().is_some_and(|chunk| !chunk.is_empty())
        {
            self.call.0.received.store(received + 1, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.last_byte.is_none() && self.body.is_end_stream()
    }

    /// hyper reads it before the first chunk.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl AnswerBody {
    /// The next chunk. The last byte of a large one is a chunk of its own: HTTP/2 takes it only when nearly all bytes
    /// before it were sent. Without that, a call would end with its last chunk, however little of it was sent.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(last_byte) = self.last_byte.take() {
            return Poll::Ready(Some(Ok(Frame::data(last_byte))));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        polled.map_ok(|frame| {
            frame.map_data(|mut chunk| {
                if chunk.len() > MAX_UNSENT_BYTES {
                    self.last_byte = Some(chunk.split_off(chunk.len() - 1));
                }
                chunk
            })
        })
    }
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::listen::Lifetimes;

    /// The lengths of the chunks in which a body is handed over.
    async fn lengths(body: Vec<u8>) -> Vec<usize> {
        let lifetimes = Lifetimes::with(Duration::from_secs(60), Duration::from_secs(60));
        let call = Call::new(Connection::new(lifetimes, CancellationToken::new()));
        let chunks = call.observe(Body::from(body)).into_data_stream();
        chunks.map(|chunk| chunk.expect("a chunk").len()).collect().await
    }

    #[tokio::test]
    async fn the_last_byte_of_a_large_chunk_comes_on_its_own() {
        assert_eq!(lengths(vec![7; MAX_UNSENT_BYTES]).await, [MAX_UNSENT_BYTES]);
        assert_eq!(lengths(vec![7; 1 << 20]).await, [(1 << 20) - 1, 1]);
    }
}
