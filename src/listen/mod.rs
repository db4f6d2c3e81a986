//! Listeners: each accepts connections, with or without TLS, and passes their requests to a router. All of them stop
//! together, and wait for the calls in progress.

mod accept;
mod detect;
mod head_timer;
mod http;

use std::time::Duration;

use anyhow::Context;
use axum::Router;
use futures_util::{Stream, future::try_join_all};
use print_upload_client::{KEEPALIVE, MAX_CREDENTIAL_BYTES, STREAM_WINDOW};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Server, server::Connected},
};

use crate::tls::Certificate;

/// How many calls of one connection run at once. A gateway sends the calls of all its callers over one connection. Even
/// if as many transfers as possible stall on it (`--max-transfers`: at most 1000 ranges and 1000 downloads), a cancel
/// must still get through.
const CALLS_PER_CONNECTION: u32 = 2047;

/// The window of a connection: as large as the windows of all its calls, so that no call waits for another. The memory
/// in use is bounded by the number of authorized calls on all connections: a call without a credential is refused at
/// once, and so is a range without a permit.
const CONNECTION_WINDOW: u32 = CALLS_PER_CONNECTION * STREAM_WINDOW;

/// The headers of a request over HTTP/2, in bytes as RFC 9113, section 6.5.2, counts them. It is larger than the
/// largest credential ([`MAX_CREDENTIAL_BYTES`]), so that a caller whose credential is too large learns just that.
const MAX_HEADER_LIST_BYTES: u32 = 4 * MAX_CREDENTIAL_BYTES as u32;

/// How long connections and calls may last.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// How long an HTTP/1.1 connection may wait for its next request.
    pub idle: Duration,
    /// How long the calls in progress may take to end when the listeners stop.
    pub drain: Duration,
}

/// Whether every call had ended when the listeners stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every call was answered.
    All,
    /// The deadline passed first. Calls in progress end with the process.
    Cut,
}

/// A listener, and the router for its requests.
#[derive(Debug)]
pub struct Endpoint {
    pub listener: TcpListener,
    pub protocol: Protocol,
    pub router: Router,
}

/// The protocol that clients speak on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC: HTTP/2 only.
    Grpc,
    /// HTTP/1.1 and HTTP/2.
    Http,
}

/// Serves every endpoint until `shutdown` completes. Then it cancels `stopping`, accepts no new connections, and waits
/// for the calls in progress, for as long as they may last. With a certificate every endpoint speaks TLS.
pub async fn serve(
    endpoints: Vec<Endpoint>,
    certificate: Option<Certificate>,
    lifetimes: Lifetimes,
    stopping: CancellationToken,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<Drained> {
    let serving =
        endpoints.into_iter().map(|endpoint| endpoint.serve(certificate.as_ref(), lifetimes.idle, stopping.clone()));
    let serving = try_join_all(serving.collect::<Vec<_>>());
    let deadline = async {
        shutdown.await;
        stopping.cancel();
        sleep(lifetimes.drain).await;
    };
    let following = async {
        match &certificate {
            Some(certificate) => certificate.follow().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        served = serving => served.map(|_| Drained::All),
        () = deadline => Ok(Drained::Cut),
        () = following => unreachable!("it never ends"),
    }
}

impl Endpoint {
    async fn serve(
        self,
        certificate: Option<&Certificate>,
        idle: Duration,
        stopping: CancellationToken,
    ) -> anyhow::Result<()> {
        let Self { listener, protocol, router } = self;
        match certificate {
            None => protocol.serve(router, accept::plain(listener), idle, stopping).await,
            Some(certificate) => {
                let incoming = accept::tls(listener, certificate.acceptor(protocol.alpn())?);
                protocol.serve(router, incoming, idle, stopping).await
            }
        }
    }
}

impl Protocol {
    async fn serve<Connection>(
        self,
        router: Router,
        incoming: impl Stream<Item = std::io::Result<Connection>> + Unpin,
        idle: Duration,
        stopping: CancellationToken,
    ) -> anyhow::Result<()>
    where
        Connection: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        match self {
            Self::Http => {
                http::serve(router, incoming, idle, stopping).await;
                Ok(())
            }
            Self::Grpc => {
                // REST does not use this server: it obeys `grpc-timeout` in any request, and then returns a 200.
                let server = Server::builder()
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_concurrent_streams(CALLS_PER_CONNECTION)
                    .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
                    .http2_keepalive_interval(Some(KEEPALIVE))
                    .add_routes(Routes::from(router));
                server.serve_with_incoming_shutdown(incoming, stopping.cancelled_owned()).await.context("serving")
            }
        }
    }

    /// The protocol names for ALPN (RFC 7301), preferred first.
    fn alpn(self) -> &'static [&'static str] {
        match self {
            Self::Grpc => &["h2"],
            Self::Http => &["h2", "http/1.1"],
        }
    }
}
