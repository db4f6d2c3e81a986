//! Protocol detection: whether the client speaks HTTP/2 is known from the first bytes of a connection.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What every HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first bytes have been read already. A reader gets them again, before the rest.
#[derive(Debug)]
pub struct Prefixed<Connection> {
    prefix: Bytes,
    connection: Connection,
}

/// Waits until it is known whether the client speaks HTTP/2. The caller limits the time. The servers detect this as
/// well, but without a time limit.
pub async fn detect_protocol<Connection>(mut connection: Connection) -> io::Result<Prefixed<Connection>>
where
    Connection: AsyncRead + Unpin,
{
    let mut prefix = BytesMut::with_capacity(PREFACE.len());
    while PREFACE.starts_with(&prefix) && prefix.len() < PREFACE.len() {
        if connection.read_buf(&mut prefix).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Prefixed { prefix: prefix.freeze(), connection })
}

impl<Connection> Prefixed<Connection> {
    /// Whether the client speaks HTTP/2. Known until the first bytes are read again.
    pub fn is_http2(&self) -> bool {
        self.prefix.starts_with(PREFACE)
    }
}

impl<Connection: AsyncRead + Unpin> AsyncRead for Prefixed<Connection> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.connection).poll_read(context, into);
        }
        let length = self.prefix.len().min(into.remaining());
        into.put_slice(&self.prefix[..length]);
        self.prefix.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<Connection: AsyncWrite + Unpin> AsyncWrite for Prefixed<Connection> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncWriteExt, duplex},
        time::timeout,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_bytes_are_read_again_and_an_incomplete_preface_is_waited_for() {
        for first in [PREFACE, b"PUT / HTTP/1.1\r\n", b"PRX", b"G"] {
            let (mut client, server) = duplex(64);
            client.write_all(first).await.expect("taken");
            let mut detected = detect_protocol(server).await.expect("the protocol is known");
            assert_eq!(detected.is_http2(), first == PREFACE);
            client.write_all(b"more").await.expect("taken");
            drop(client);
            let mut read = Vec::new();
            detected.read_to_end(&mut read).await.expect("read");
            assert_eq!(read, [first, b"more"].concat());
        }
        let (mut client, server) = duplex(64);
        client.write_all(&PREFACE[..23]).await.expect("taken");
        timeout(Duration::from_secs(60), detect_protocol(server)).await.expect_err("a byte is missing");
    }
}
