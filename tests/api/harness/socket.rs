//! HTTP/1.1 by hand, for clients that send slowly, stop, or never read.

use std::{net::SocketAddr, ops::Range};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection to the gateway with one request on it.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    /// Starts to put a range: sends the head, and no byte of the body.
    pub async fn put(gateway: SocketAddr, upload_url: &str, range: Range<usize>, total: usize) -> Self {
        Self::begin(gateway, "PUT", upload_url, &slice_head(range, total)).await
    }

    /// The same with more headers.
    pub async fn put_with(
        gateway: SocketAddr,
        upload_url: &str,
        range: Range<usize>,
        total: usize,
        headers: &str,
    ) -> Self {
        let head = format!("{}{headers}", slice_head(range, total));
        Self::begin(gateway, "PUT", upload_url, &head).await
    }

    /// The same with `Expect: 100-continue`.
    pub async fn put_expecting_continue(
        gateway: SocketAddr,
        upload_url: &str,
        range: Range<usize>,
        total: usize,
    ) -> Self {
        Self::put_with(gateway, upload_url, range, total, "Expect: 100-continue\r\n").await
    }

    /// Starts to post: sends the head, and no byte of the body.
    pub async fn post(gateway: SocketAddr, path: &str, token: &str, headers: &str) -> Self {
        Self::begin(gateway, "POST", path, &format!("Authorization: Bearer {token}\r\n{headers}")).await
    }

    /// Sends a GET request, and reads nothing.
    pub async fn get(gateway: SocketAddr, path: &str, token: &str) -> Self {
        Self::get_with(gateway, path, token, "").await
    }

    /// The same with more headers.
    pub async fn get_with(gateway: SocketAddr, path: &str, token: &str, headers: &str) -> Self {
        Self::begin(gateway, "GET", path, &format!("Authorization: Bearer {token}\r\n{headers}")).await
    }

    async fn begin(gateway: SocketAddr, method: &str, url: &str, head: &str) -> Self {
        let path = url.split_once("://").map_or(url, |(_, rest)| &rest[rest.find('/').unwrap_or(rest.len())..]);
        let mut socket = Self(TcpStream::connect(gateway).await.expect("a connection"));
        socket.write(format!("{method} {path} HTTP/1.1\r\nHost: {gateway}\r\n{head}\r\n").as_bytes()).await;
        socket
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the gateway takes it");
    }

    /// Sends a byte more. Returns whether the connection is still open, as far as that is known.
    pub async fn trickle(&mut self) -> bool {
        self.0.write_all(&[7]).await.is_ok()
    }

    /// Reads the status line and the headers of the answer.
    pub async fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("an answer"));
        }
        String::from_utf8(head).expect("text")
    }

    /// Reads this many bytes.
    pub async fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).await.expect("bytes");
        bytes
    }

    /// Reads until the gateway closes the connection.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.expect("an end, not a reset");
        rest
    }
}

fn slice_head(range: Range<usize>, total: usize) -> String {
    let (length, content_range) = (range.len(), format!("bytes {}-{}/{total}", range.start, range.end - 1));
    format!("Content-Length: {length}\r\nContent-Range: {content_range}\r\n")
}
