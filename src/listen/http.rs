//! HTTP on the connections of a listener: HTTP/2 for gRPC, HTTP/1.1 and HTTP/2 for REST.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
    response::Response,
};
use futures_util::FutureExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use print_upload_client::{KEEPALIVE, MAX_CREDENTIAL_BYTES};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    pin,
    sync::mpsc::Receiver,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use super::{
    Lifetimes, Protocol,
    accept::Accepted,
    call::{Call, CallExecutor, MAX_UNSENT_BYTES},
    connection::Connection,
    deadline,
    head_timer::with_timer,
    pace::{Pace, Strangers},
    transport::Transport,
};

/// How many calls of one connection run at once over gRPC. A gateway sends the calls of all its callers over one
/// connection. Even if as many transfers as possible stall on it (`--max-transfers`: at most 1000 ranges and 1000
/// downloads), a cancel must still get through.
const CALLS_PER_CONNECTION: u32 = 2047;

/// The same over REST. Each of them may have sent a JSON body before its credential is known.
const REQUESTS_PER_CONNECTION: u32 = 128;

/// How much one call may have sent that the service has not read. It is all that a range can have on its way: with a
/// round trip of 1 ms that allows 256 MB a second, with one of 20 ms 13 MB. A document that is sent in several ranges
/// at once has as much for each of them.
const STREAM_WINDOW: u32 = 256 * 1024;

/// How much the calls of one connection may have sent that the service has not read: the windows of 128 calls, which is
/// a quarter of `--max-transfers` by default. A call that is read, or that is answered without being read, takes
/// nothing of it. So calls wait for each other only while the service reads so many ranges of one connection too slowly:
/// its disk or its database stalls.
///
/// HTTP/2 also limits the memory for small frames by it: half as much, at 256 bytes a frame (h2, `DataFrameBudget`).
/// A client that sends one byte at a time to calls that are not read is disconnected after 65,536 frames.
const CONNECTION_WINDOW: u32 = 128 * STREAM_WINDOW;

/// The headers of a request over HTTP/2, in bytes as RFC 9113, section 6.5.2, counts them. It is larger than the
/// largest credential ([`MAX_CREDENTIAL_BYTES`]), so that a caller whose credential is too large learns just that.
const MAX_HEADER_LIST_BYTES: u32 = 4 * MAX_CREDENTIAL_BYTES as u32;

/// How much of an HTTP/1.1 connection is read at once, in bytes, and the largest head of a request. hyper's default is
/// six times as large, for each connection.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;

/// By which part of it the age of a connection is longer or shorter. Otherwise all clients that have connected after a
/// restart would connect again at the same time.
const AGE_SPREAD: f64 = 0.1;

/// How long the answer to a PING may take. On a slow line it waits behind what was sent before it.
const PONG_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection without calls may send nothing before it is closed, once its client was asked to connect again.
/// What was answered may still be on its way until then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until `stopping` is canceled, then waits for the calls in progress.
pub(super) async fn serve<Transport>(
    protocol: Protocol,
    router: Router,
    mut incoming: Receiver<Accepted<Transport>>,
    lifetimes: Lifetimes,
    stopping: CancellationToken,
) where
    Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connections = TaskTracker::new();
    let strangers = Strangers::new();
    while let Some(Some(accepted)) = stopping.run_until_cancelled(incoming.recv()).await {
        let connection = Connection::new(lifetimes, stopping.child_token());
        let Accepted { transport, permit } = accepted;
        let (router, stopping) = (router.clone(), stopping.clone());
        // Frames are a matter of HTTP/2.
        let pace = transport.is_http2().then(|| Pace::new(strangers.clone()));
        let serving = serve_connection(protocol, router, transport, pace, connection, stopping);
        connections.spawn(serving.map(|()| drop(permit)));
    }
    drop(incoming);
    connections.close();
    connections.wait().await;
}

/// Serves one connection until its client closes it, or it is idle or old, or the program stops. Over HTTP/2 it has a
/// pace.
async fn serve_connection(
    protocol: Protocol,
    router: Router,
    transport: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    pace: Option<Pace>,
    connection: Arc<Connection>,
    stopping: CancellationToken,
) {
    let lifetimes = connection.lifetimes;
    let is_http2 = pace.is_some();
    let (timer, transport) = with_timer(transport);
    let transport = TokioIo::new(Transport::new(transport, Arc::clone(&connection), pace));
    let mut server = Builder::new(CallExecutor(Arc::clone(&connection)));
    if protocol == Protocol::Grpc {
        server = server.http2_only();
    }
    server.http1().timer(timer).header_read_timeout(lifetimes.idle).max_buf_size(HTTP1_BUFFER_BYTES);
    server
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(protocol.calls_per_connection())
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_send_buf_size(MAX_UNSENT_BYTES)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(PONG_TIMEOUT);
    let answering = Arc::clone(&connection);
    let service = service_fn(move |request| answer(protocol, router.clone(), request, Arc::clone(&answering)));
    let serving = server.serve_connection(transport, service).into_owned();
    pin!(serving);

    // HTTP/1.1 has a time limit for idle connections of its own.
    tokio::select! {
        served = &mut serving => return log_end(served),
        () = stopping.cancelled() => {}
        () = sleep(spread(lifetimes.age)) => {}
        () = connection.idle_for(lifetimes.idle), if is_http2 => {}
    }
    connection.closing.cancel();
    let used_up = connection.used_up(lifetimes.grace);
    pin!(used_up);
    if !is_http2 {
        // Its next answer asks the client to connect again. To close it at once could meet a request on its way.
        tokio::select! {
            served = &mut serving => return log_end(served),
            () = stopping.cancelled() => {}
            () = &mut used_up => return log_cut(),
        }
    }
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        served = &mut serving => log_end(served),
        () = &mut used_up => log_cut(),
        () = connection.quiet_for(CLOSE_TIMEOUT), if is_http2 => tracing::debug!("a client did not close its connection"),
    }
}

fn spread(age: Duration) -> Duration {
    age.mul_f64(1.0 + AGE_SPREAD * (2.0 * fastrand::f64() - 1.0))
}

fn log_cut() {
    tracing::debug!("a connection that was too old was cut");
}

fn log_end<E: std::fmt::Display>(served: Result<(), E>) {
    if let Err(error) = served {
        tracing::debug!(error = %error, "a connection broke off");
    }
}

/// Only RPCs have deadlines: of a REST request `grpc-timeout` means nothing.
async fn answer(
    protocol: Protocol,
    mut router: Router,
    mut request: Request<Incoming>,
    connection: Arc<Connection>,
) -> Result<Response, Infallible> {
    let limit = if protocol == Protocol::Grpc { deadline::of(request.headers()) } else { None };
    let call = Call::current();
    if let Some(call) = &call {
        request.extensions_mut().insert(call.clone());
        // Over REST nobody knows here whether there is one, and there are fewer calls.
        if protocol == Protocol::Http {
            call.note_credential();
        }
    }
    let answering = router.call(request).map(|answered| answered.unwrap_or_else(|never| match never {}));
    let mut response = deadline::answer_in_time(limit, answering).await;
    Ok(match call {
        Some(call) => response.map(|body| call.observe(body)),
        None => {
            if connection.closing.is_cancelled() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    })
}

impl Protocol {
    fn calls_per_connection(self) -> u32 {
        match self {
            Self::Grpc => CALLS_PER_CONNECTION,
            Self::Http => REQUESTS_PER_CONNECTION,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::Instant,
    };

    use super::*;
    use crate::listen::detect::detect_protocol;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";
    const LIFETIMES: Lifetimes = Lifetimes::with(Duration::from_secs(120), Duration::from_secs(5));

    fn served() -> DuplexStream {
        let (client, server) = duplex(4096);
        let router = Router::new().route("/", get(async || "ok"));
        tokio::spawn(async move {
            let transport = detect_protocol(server).await.expect("the protocol is known");
            let stopping = CancellationToken::new();
            let connection = Connection::new(LIFETIMES, stopping.child_token());
            serve_connection(Protocol::Http, router, transport, None, connection, stopping).await;
        });
        client
    }

    /// Sends the bytes, and returns how long the connection then stays open, in seconds.
    async fn seconds_open_after(client: &mut DuplexStream, bytes: &[u8]) -> u64 {
        client.write_all(bytes).await.expect("taken");
        let begun = Instant::now();
        client.read_to_end(&mut Vec::new()).await.expect("an end");
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_be_idle_for_longer_than_a_head_may_take() {
        assert_eq!(seconds_open_after(&mut served(), REQUEST).await, 120);
        assert_eq!(seconds_open_after(&mut served(), &REQUEST[..20]).await, 30);
        let mut client = served();
        client.write_all(REQUEST).await.expect("taken");
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(seconds_open_after(&mut client, &REQUEST[..20]).await, 30, "a later head has the same limit");
        let mut client = served();
        client.write_all(&REQUEST[..20]).await.expect("taken");
        tokio::time::sleep(Duration::from_secs(29)).await;
        assert_eq!(seconds_open_after(&mut client, &REQUEST[20..]).await, 120, "it was complete in time");
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_connection_is_closed_with_an_answer() {
        let (mut client, begun) = (served(), Instant::now());
        let mut answer = [0; 1024];
        let mut is_last = async |client: &mut DuplexStream| {
            client.write_all(REQUEST).await.expect("it is open");
            let length = client.read(&mut answer).await.expect("an answer");
            assert!(answer[..length].starts_with(b"HTTP/1.1 200 OK\r\n"));
            String::from_utf8_lossy(&answer[..length]).contains("connection: close\r\n")
        };
        while !is_last(&mut client).await {
            tokio::time::sleep(Duration::from_secs(119)).await;
        }
        let age = begun.elapsed().as_secs();
        assert!((LIFETIMES.age.as_secs() * 9 / 10..=LIFETIMES.age.as_secs() * 11 / 10 + 119).contains(&age), "{age} s");
        client.read_to_end(&mut Vec::new()).await.expect("an end");
    }
}
