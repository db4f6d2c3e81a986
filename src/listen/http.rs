//! HTTP on the connections of a listener: HTTP/2 for gRPC, HTTP/1.1 and HTTP/2 for REST.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, extract::Request, response::Response};
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
    call::{Call, CallExecutor},
    connection::Connection,
    deadline,
    head_timer::with_timer,
    timed_writes::TimedWrites,
};

/// How many calls of one connection run at once. A gateway sends the calls of all its callers over one connection. Even
/// if as many transfers as possible stall on it (`--max-transfers`: at most 1000 ranges and 1000 downloads), a cancel
/// must still get through.
const CALLS_PER_CONNECTION: u32 = 2047;

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
    while let Some(Some(accepted)) = stopping.run_until_cancelled(incoming.recv()).await {
        let connection = Connection::new(lifetimes, stopping.child_token());
        let Accepted { transport, permit } = accepted;
        let serving = serve_connection(protocol, router.clone(), transport.is_http2(), transport, connection);
        connections.spawn(serving.map(|()| drop(permit)));
    }
    drop(incoming);
    connections.close();
    connections.wait().await;
}

/// Serves one connection until its client closes it, or it is idle or old, or the program stops.
async fn serve_connection(
    protocol: Protocol,
    router: Router,
    is_http2: bool,
    transport: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Arc<Connection>,
) {
    let lifetimes = connection.lifetimes;
    let (timer, transport) = with_timer(transport);
    let transport = TokioIo::new(TimedWrites::new(transport, Arc::clone(&connection)));
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
        .max_concurrent_streams(CALLS_PER_CONNECTION)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .keep_alive_interval(KEEPALIVE);
    let service = service_fn(move |request| answer(protocol, router.clone(), request));
    let serving = server.serve_connection(transport, service).into_owned();
    pin!(serving);

    // HTTP/1.1 has a time limit for idle connections of its own.
    tokio::select! {
        served = &mut serving => return log_end(served),
        () = connection.closing.cancelled() => {}
        () = sleep(lifetimes.age) => {}
        () = connection.idle_for(lifetimes.idle), if is_http2 => {}
    }
    connection.closing.cancel();
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        served = &mut serving => log_end(served),
        () = sleep(lifetimes.grace) => tracing::debug!("a connection that was too old was cut"),
        () = connection.quiet_for(CLOSE_TIMEOUT), if is_http2 => tracing::debug!("a client did not close its connection"),
    }
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
) -> Result<Response, Infallible> {
    let limit = if protocol == Protocol::Grpc { deadline::of(request.headers()) } else { None };
    let call = Call::current();
    if let Some(call) = &call {
        request.extensions_mut().insert(call.clone());
    }
    let answering = router.call(request).map(|answered| answered.unwrap_or_else(|never| match never {}));
    let response = deadline::answer_in_time(limit, answering).await;
    Ok(match call {
        Some(call) => response.map(|body| call.observe(body)),
        None => response,
    })
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
            let connection = Connection::new(LIFETIMES, CancellationToken::new());
            serve_connection(Protocol::Http, router, transport.is_http2(), transport, connection).await;
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
}
