//! gRPC over a bare HTTP/2 connection. The client shares the cores with the service and Postgres, so it does no more than
//! it must: every call has the same headers, and its message is encoded beforehand. As with most gRPC libraries the token
//! is in the connection's header table after the first call.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use prost::Message;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};
use tonic::{Code, Status};

/// The service of the proto that all calls are made to.
const SERVICE: &str = "print.upload.v1.UploadSessions";

/// How long a call is made again and again, and how long it waits before that.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// How many bytes a connection's small frames may lack that arrive faster than they are read. With h2's default it would
/// be the caller that ends the connection, when some hundred answers arrive at once after a pause.
const SMALL_FRAMES: usize = 64 * 1024 * 1024;

/// HTTP/2 connections to one service, with one caller's token.
#[derive(Debug, Clone)]
pub struct Connections {
    senders: Vec<SendRequest<Bytes>>,
    address: SocketAddr,
    headers: HeaderMap,
}

/// Calls of one method, on one of the connections.
#[derive(Debug, Clone)]
pub struct Caller {
    sender: SendRequest<Bytes>,
    uri: Uri,
    headers: HeaderMap,
}

/// A call that has begun to send and stalls. Its answer arrives when the service ends it.
pub struct Stalled {
    _sending: h2::SendStream<Bytes>,
    answer: h2::client::ResponseFuture,
}

impl Connections {
    /// Connects, in the runtime that the calls are made in.
    pub async fn open(address: SocketAddr, token: &str, count: usize) -> anyhow::Result<Self> {
        let mut senders = Vec::new();
        for _ in 0..count {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) =
                h2::client::Builder::new().data_frame_budget(SMALL_FRAMES).handshake(stream).await?;
            tokio::spawn(connection);
            senders.push(sender);
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}"))?);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("print-upload-dev"));
        Ok(Self { senders, address, headers })
    }

    /// A caller of a method. Callers are spread over the connections by their number.
    pub fn caller(&self, number: usize, method: &str) -> anyhow::Result<Caller> {
        let uri = format!("http://{}/{SERVICE}/{method}", self.address).parse()?;
        let sender = self.senders[number % self.senders.len()].clone();
        Ok(Caller { sender, uri, headers: self.headers.clone() })
    }
}

impl Caller {
    /// The same calls with another token.
    pub fn with_token(mut self, token: &str) -> anyhow::Result<Self> {
        self.headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}"))?);
        Ok(self)
    }

    /// Makes a call whose answer is OK, and returns its message.
    pub async fn call(&self, frame: Bytes) -> anyhow::Result<Bytes> {
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut sending) = sender.send_request(self.request(), false)?;
        sending.send_data(frame, true)?;
        ok(answer.await?).await
    }

    /// The same, and makes the call again while the service is unavailable, as clients do. Returns how often it did.
    pub async fn call_patiently(&self, frame: Bytes) -> anyhow::Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        let mut repeats = 0;
        while let Err(error) = self.call(frame.clone()).await {
            let is_unavailable = error.downcast_ref::<Status>().is_some_and(|it| it.code() == Code::Unavailable);
            if !is_unavailable || Instant::now() > deadline {
                return Err(error);
            }
            repeats += 1;
            sleep(PAUSE).await;
        }
        Ok(repeats)
    }

    /// Begins a call and stalls after the frames.
    pub async fn stall(&self, frames: Vec<Bytes>) -> anyhow::Result<Stalled> {
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut sending) = sender.send_request(self.request(), false)?;
        for frame in frames {
            sending.send_data(frame, false)?;
        }
        Ok(Stalled { _sending: sending, answer })
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

impl Stalled {
    /// Waits for the answer, and returns its status.
    pub async fn status(self) -> anyhow::Result<i32> {
        let answer = self.answer.await?;
        match status(answer.headers()) {
            Some(status) => Ok(status),
            None => Ok(message_and_status(answer.into_body()).await?.1),
        }
    }
}

/// A message with its prefix, as it is sent.
pub fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer grows as needed: this cannot fail.
    let _ = message.encode(&mut frame);
    frame.freeze()
}

async fn ok(answer: Response<RecvStream>) -> anyhow::Result<Bytes> {
    ensure!(answer.status().is_success(), "HTTP status {}", answer.status());
    // An error without a message has its status in the headers.
    let in_headers = status(answer.headers());
    let reason = reason(answer.headers());
    let (message, status) = match in_headers {
        Some(status) => (Bytes::new(), status),
        None => message_and_status(answer.into_body()).await?,
    };
    if status != 0 {
        bail!(Status::new(Code::from_i32(status), reason));
    }
    Ok(message)
}

async fn message_and_status(mut body: RecvStream) -> anyhow::Result<(Bytes, i32)> {
    let mut message = Bytes::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        message = if message.is_empty() { data } else { [message, data].concat().into() };
    }
    let trailers = body.trailers().await?.context("an answer without a status")?;
    let status = status(&trailers).context("an answer without a status")?;
    Ok((message.slice(message.len().min(5)..), status))
}

fn status(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn reason(headers: &HeaderMap) -> String {
    let text = headers.get("grpc-message").map(|text| String::from_utf8_lossy(text.as_bytes()).replace("%20", " "));
    text.unwrap_or_default()
}
