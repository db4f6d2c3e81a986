//! HTTP/1.1 and HTTP/2 on the same listener.

use std::{io, time::Duration};

use axum::Router;
use futures_util::{Stream, StreamExt};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use print_upload_client::{KEEPALIVE, STREAM_WINDOW};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::{CALLS_PER_CONNECTION, CONNECTION_WINDOW, MAX_HEADER_LIST_BYTES, head_timer::with_timer};

/// How much of an HTTP/1.1 connection is read at once, in bytes, and the largest head of a request. hyper's default is
/// three times as large, for each connection.
const HTTP1_BUFFER_BYTES: usize = 128 * 1024;

/// Serves until `stopping` is canceled, then waits for the requests in progress. `idle` is how long an HTTP/1.1
/// connection may wait for its next request.
pub async fn serve<Connection>(
    router: Router,
    mut incoming: impl Stream<Item = io::Result<Connection>> + Unpin,
    idle: Duration,
    stopping: CancellationToken,
) where
    Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connections = GracefulShutdown::new();
    while let Some(Some(Ok(connection))) = stopping.run_until_cancelled(incoming.next()).await {
        let (timer, connection) = with_timer(connection);
        let service = TowerToHyperService::new(router.clone());
        let mut server = Builder::new(TokioExecutor::new());
        server.http1().timer(timer).header_read_timeout(idle).max_buf_size(HTTP1_BUFFER_BYTES);
        server
            .http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(CALLS_PER_CONNECTION)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .keep_alive_interval(KEEPALIVE);
        let serving = server.serve_connection(TokioIo::new(connection), service).into_owned();
        let serving = connections.watch(serving);
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(error, "a connection broke off");
            }
        });
    }
    drop(incoming);
    connections.shutdown().await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::Instant,
    };

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";
    const IDLE: Duration = Duration::from_secs(120);

    fn served() -> DuplexStream {
        let (client, server) = duplex(4096);
        let incoming = futures_util::stream::iter([Ok(server)]).chain(futures_util::stream::pending());
        let router = Router::new().route("/", get(async || "ok"));
        tokio::spawn(async move { serve(router, Box::pin(incoming), IDLE, CancellationToken::new()).await });
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
