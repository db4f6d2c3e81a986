//! HTTP/2 by hand, for callers without a credential who send slowly, read nothing or send floods.

use std::{fs, net::SocketAddr};

use axum::http::{Request, Version};
use bytes::Bytes;
use h2::{
    SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};
use tonic::Status;

/// A connection to the service.
pub struct Stranger {
    requests: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Stranger {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::with_window(address, 65_535).await
    }

    /// Connects, with windows that have room for this many bytes of each answer.
    pub async fn with_window(address: SocketAddr, bytes: u32) -> Self {
        let socket = TcpStream::connect(address).await.expect("a connection");
        Self::over(socket, bytes).await.expect("the preface is sent")
    }

    /// Connects from an address of this machine. `None` if the service closes the connection at once.
    pub async fn connect_from(from: [u8; 4], address: SocketAddr) -> Option<Self> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of this machine");
        let socket = socket.connect(address).await.expect("the listener is open");
        Self::over(socket, 65_535).await.ok()
    }

    async fn over(socket: TcpStream, window: u32) -> Result<Self, h2::Error> {
        let (requests, connection) = Builder::new().initial_window_size(window).handshake(socket).await?;
        Ok(Self { requests, connection: tokio::spawn(connection) })
    }

    /// Begins a call. Its body goes on.
    pub async fn call(&self, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
        let request = Request::post(format!("http://stranger{path}")).version(Version::HTTP_2);
        let request = request.header("content-type", "application/grpc").header("te", "trailers").body(());
        let mut requests = self.requests.clone().ready().await.expect("the connection takes a call");
        requests.send_request(request.expect("a request"), false).expect("the call is begun")
    }

    /// Makes a call with this body, and returns its status. The messages of the answer are read, and not looked at.
    pub async fn ask(&self, path: &str, body: Bytes) -> Result<Status, h2::Error> {
        let (response, mut sender) = self.call(path).await;
        sender.send_data(body, true)?;
        status_of(response).await
    }

    /// How many calls the service lets this connection make at once. Known when the service has answered something.
    pub fn max_calls(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Whether the service has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.connection.is_finished()
    }
}

/// Makes calls without a credential on one connection, and reads nothing, until the service cuts the connection.
pub async fn call_until_cut(address: SocketAddr, path: &str) {
    // HPACK by hand: POST and http from the static table, then a path, an authority and a content type as they are.
    let mut head = vec![0x83, 0x86, 0x04, path.len() as u8];
    head.extend(path.as_bytes());
    head.extend(b"\x01\x01x\x0f\x10\x10application/grpc");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut socket = socket.connect(address).await.expect("the listener is open");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    socket.write_all(preface).await.expect("sent");
    for stream in (1_u32..).step_by(2) {
        let frame = [[0, 0, head.len() as u8, 1, 5].as_slice(), &stream.to_be_bytes(), &head].concat();
        if socket.write_all(&frame).await.is_err() {
            return;
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The status of an answer, in its head or after its messages.
pub async fn status_of(response: ResponseFuture) -> Result<Status, h2::Error> {
    let response = response.await?;
    if let Some(status) = Status::from_header_map(response.headers()) {
        return Ok(status);
    }
    let mut body = response.into_body();
    while let Some(chunk) = body.data().await {
        body.flow_control().release_capacity(chunk?.len())?;
    }
    let trailers = body.trailers().await?.expect("an answer ends with trailers");
    Ok(Status::from_header_map(&trailers).expect("a status"))
}

/// The memory of a process that is resident, in MiB.
pub fn resident_mib(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") / 1024
}
