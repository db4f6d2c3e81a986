//! A body whose bytes, trailers and end somebody watches as they pass.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::HeaderMap,
};
use http_body::{Frame, SizeHint};

/// Who watches a body. Dropped with it: at its end, or before when nobody wants the rest.
pub trait Observer: Send + Unpin + 'static {
    /// Bytes have passed.
    fn data(&mut self, bytes: usize);

    /// The trailers have passed.
    fn trailers(&mut self, _: &HeaderMap) {}

    /// Everything has passed.
    fn end(&mut self) {}
}

/// A body that is watched.
#[derive(Debug)]
pub struct Observed<O> {
    body: Body,
    observer: O,
}

impl<O: Observer> Observed<O> {
    /// The same body, watched.
    pub fn body(body: Body, mut observer: O) -> Body {
        // Nobody asks an empty one for anything.
        if body.is_end_stream() {
            observer.end();
        }
        Body::new(Self { body, observer })
    }
}

impl<O: Observer> HttpBody for Observed<O> {
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
                // A server that sees the end by `is_end_stream` does not poll once more.
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
