//! HTTP/1.1 over a plain socket, on threads: it writes buffers that are there already, and parses no more of an answer
//! than its status, its length and single headers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, ensure};

/// How long a read or a write may stall.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that is kept for many requests.
pub struct Http {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

/// An answer; its body is read and ignored.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<String>,
}

impl Http {
    pub fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    /// Sends a request and reads its answer.
    pub fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> anyhow::Result<Answer> {
        self.begin(method, path, headers, body.len())?;
        self.send(body)?;
        self.answer()
    }

    /// Sends a request without its body. `headers` are lines that end with CRLF.
    pub fn begin(&mut self, method: &str, path: &str, headers: &str, body_bytes: usize) -> anyhow::Result<()> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {body_bytes}\r\n{headers}\r\n",
            self.address
        );
        self.send(head.as_bytes())
    }

    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.get_mut().write_all(bytes).context("sending")
    }

    pub fn answer(&mut self) -> anyhow::Result<Answer> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "the connection was closed");
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok()).context("a status")?;
        let answer = Answer { status, headers: lines };
        if answer.header("transfer-encoding").is_some() {
            while self.chunk()? > 0 {}
        } else {
            let length = answer.header("content-length").map_or(Ok(0), str::parse)?;
            self.stream.read_exact(&mut vec![0; length])?;
        }
        Ok(answer)
    }

    /// Reads a chunk of a body, and returns its length.
    fn chunk(&mut self) -> anyhow::Result<usize> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim_end(), 16).context("the length of a chunk")?;
        self.stream.read_exact(&mut vec![0; length + 2])?;
        Ok(length)
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Fails unless it has a status of 2xx.
    pub fn ok(self) -> anyhow::Result<Self> {
        ensure!((200..300).contains(&self.status), "{}", self.headers.join(" · "));
        Ok(self)
    }
}
