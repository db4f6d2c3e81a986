//! A body whose bytes, trailers and end are observed as they pass.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::HeaderMap,
};
use http_body::{Frame, SizeHint};

/// Observes a body. It is dropped with the body: at the body's end, or earlier if the rest is not read.
pub trait BodyObserver: Send + Unpin + 'static {
    /// A chunk of data has passed.
    fn data(&mut self, bytes: usize);

    /// The trailers have passed.
    fn trailers(&mut self, _: &HeaderMap) {}

    /// The body has ended.
    fn end(&mut self) {}
}

#[derive(Debug)]
pub struct ObservedBody<O> {
    body: Body,
    observer: O,
}

impl<O: BodyObserver> ObservedBody<O> {
    pub fn wrap(body: Body, mut observer: O) -> Body {
        // An empty body is never polled.
        if body.is_end_stream() {
            observer.end();
        }
        Body::new(Self { body, observer })
    }
}

impl<O: BodyObserver> HttpBody for ObservedBody<O> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.observer.data(data.len());
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.observer.trailers(trailers);
                }
                // A server that sees the end in `is_end_stream` does not poll again.
                if self.body.is_end_stream() {
                    self.observer.end();
                }
            }
            Poll::Ready(None) => self.observer.end(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
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
