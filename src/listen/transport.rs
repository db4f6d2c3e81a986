//! The bytes of a connection: it ends when its client takes nothing for too long, and while its client has presented no
//! valid credential, it is read slowly.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{connection::Connection, pace::Pace};

/// A connection whose writes fail when none has succeeded for as long as its lifetimes allow.
pub struct Transport<Inner> {
    inner: Inner,
    connection: Arc<Connection>,
    /// How fast it is read, if that is limited.
    pace: Option<Pace>,
    /// Since a write has to wait: when that began.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<Inner> Transport<Inner> {
    pub(super) fn new(inner: Inner, connection: Arc<Connection>, pace: Option<Pace>) -> Self {
        Self { inner, connection, pace, waiting: None }
    }

    fn check<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.connection.note_blocked(written.is_pending());
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let limit = self.connection.write_timeout();
        let now = Instant::now();
        let (since, end) = self.waiting.get_or_insert_with(|| (now, Box::pin(sleep_until(now + limit))));
        let deadline = *since + limit;
        // The limit depends on the calls that have come since.
        if end.deadline() != deadline {
            end.as_mut().reset(deadline);
        }
        end.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn check_bytes(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.connection.note_written(bytes);
        }
        self.check(written, context)
    }
}

impl<Inner: AsyncRead + Unpin> AsyncRead for Transport<Inner> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { inner, connection, pace, .. } = &mut *self;
        let Some(pace) = pace else { return Pin::new(inner).poll_read(context, into) };
        ready!(pace.poll_turn(connection, context));
        let before = into.filled().len();
        let read = Pin::new(inner).poll_read(context, into);
        pace.note_read(into.filled().len() - before);
        read
    }
}

impl<Inner: AsyncWrite + Unpin> AsyncWrite for Transport<Inner> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.check_bytes(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.check_bytes(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.check(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(&mut self.inner).poll_shutdown(context);
        self.check(shut_down, context)
    }
}
