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

use super::{CALLS_PER_CONNECTION, CONNECTION_WINDOW};

/// How long the head of an HTTP/1.1 request may take. Also how long a connection may wait for its next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until `stopping` is canceled, then waits for the requests in progress.
pub async fn serve<Connection>(
    router: Router,
    mut incoming: impl Stream<Item = io::Result<Connection>> + Unpin,
    stopping: CancellationToken,
) where
    Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    server
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(CALLS_PER_CONNECTION)
        .keep_alive_interval(KEEPALIVE);
    let connections = GracefulShutdown::new();
    while let Some(Some(Ok(connection))) = stopping.run_until_cancelled(incoming.next()).await {
        let service = TowerToHyperService::new(router.clone());
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
