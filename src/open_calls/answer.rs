//! The answer to a call without a credential. It is handed over in pieces, as its caller and the caller's connection
//! take them.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderMap, header},
};
use futures_util::{FutureExt, future::BoxFuture};
use http_body::Frame;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::DropGuard;
use tonic::Status;

use super::{ANSWER_TIMEOUT, Limits, Permits};
use crate::listen::{Call, Credit};

/// The largest piece, in bytes.
const MAX_PIECE_BYTES: usize = 4 * 1024;

/// The body of an answer.
pub(super) struct OpenAnswer {
    body: Body,
    /// What of the last chunk is not handed over yet.
    rest: Bytes,
    credit: Credit,
    /// Since the connection has to send earlier pieces first.
    waiting: Option<Pin<Box<Sleep>>>,
    limits: Limits,
    /// Completes when the limits are exceeded.
    exceeded: BoxFuture<'static, Status>,
    has_ended: bool,
    _permits: Permits,
    /// Ends what else belongs to the call.
    _ended: DropGuard,
}

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

impl OpenAnswer {
    pub(super) fn new(body: Body, call: &Call, limits: Limits, permits: Permits, ended: DropGuard) -> Self {
        let exceeded = limits.clone().exceed(call.clone()).boxed();
        let (rest, credit) = (Bytes::new(), call.credit());
        Self { body, rest, credit, waiting: None, limits, exceeded, has_ended: false, _permits: permits, _ended: ended }
    }

    /// The last byte of a chunk is a piece of its own. The caller's window may have room for only a part of a piece, and
    /// nobody learns when it takes the remainder. That the byte after a piece is taken shows it.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Polled {
        let length = (self.rest.len() - 1).clamp(1, MAX_PIECE_BYTES);
        if self.credit.poll_take(context, length).is_ready() {
            self.waiting = None;
            return Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))));
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(ANSWER_TIMEOUT)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Some(Err(axum::Error::new(Status::cancelled("the caller takes nothing")))))
    }

    /// The answer ends here, with this status.
    fn end_with(&mut self, status: Status) -> Polled {
        self.has_ended = true;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(status)))))
    }
}

impl HttpBody for OpenAnswer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        if self.has_ended {
            return Poll::Ready(None);
        }
        while self.rest.is_empty() {
            // The future below is not asked as long as there are chunks.
            if let Some(status) = self.limits.exceeded() {
                return self.end_with(status);
            }
            let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(context) else {
                let status = ready!(self.exceeded.poll_unpin(context));
                return self.end_with(status);
            };
            match polled.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(chunk))) => self.rest = chunk,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        self.poll_piece(context)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || (self.rest.is_empty() && self.body.is_end_stream())
    }
}

fn trailers(status: Status) -> HeaderMap {
    let mut trailers = status.into_http::<Body>().into_parts().0.headers;
    trailers.remove(header::CONTENT_TYPE);
    trailers
}
