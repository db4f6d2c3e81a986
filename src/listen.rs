//! Listeners: each accepts connections, with or without TLS, and hands their requests to a router. All of them stop
//! together, and let calls under way end.

use std::{convert::Infallible, future::Future, time::Duration};

use anyhow::Context;
use axum::Router;
use futures_util::{StreamExt, TryFutureExt, future::try_join_all};
use tls_listener::TlsListener;
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{
        Server,
        server::{Router as TonicRouter, TcpIncoming},
    },
};

use crate::tls::Certificate;

/// How many bytes of one call may be under way unread: a stalled upload holds no more than this.
pub const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same for one connection and all its calls.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// How many calls of one connection run at once. A gateway has all its callers on one: more than `--max-transfers` of them
/// may be stalled, and a cancel must still get through.
const CALLS_PER_CONNECTION: u32 = 4096;

/// How often a connection without traffic is asked whether its other end is still there.
pub const KEEPALIVE: Duration = Duration::from_secs(30);

/// Whether every call had ended when the listeners stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every call was answered.
    All,
    /// The deadline passed first; what is still under way ends with the process.
    Cut,
}

/// One listener, and what answers its requests.
#[derive(Debug)]
pub struct Door {
    /// Where connections come from.
    pub listener: TcpListener,
    /// What is spoken there.
    pub protocol: Protocol,
    /// What answers.
    pub router: Router,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC: HTTP/2 only.
    Grpc,
    /// HTTP/1.1 and HTTP/2.
    Http,
}

/// Serves every door until `shutdown`; then accepts nothing new and lets calls end within the timeout. With a certificate
/// every door speaks TLS.
pub async fn serve(
    doors: Vec<Door>,
    certificate: Option<Certificate>,
    drain_timeout: Duration,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<Drained> {
    let stopping = CancellationToken::new();
    let serving = doors.into_iter().map(|door| door.serve(certificate.as_ref(), stopping.clone()));
    let serving = try_join_all(serving.collect::<Vec<_>>());
    let deadline = async {
        shutdown.await;
        stopping.cancel();
        sleep(drain_timeout).await;
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

impl Door {
    async fn serve(self, certificate: Option<&Certificate>, stopping: CancellationToken) -> anyhow::Result<()> {
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(CALLS_PER_CONNECTION)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .accept_http1(self.protocol == Protocol::Http)
            .add_routes(Routes::from(self.router));
        match certificate {
            None => serve_plain(server, self.listener, stopping).await,
            Some(certificate) => {
                let listener = TlsListener::new(certificate.acceptor(self.protocol.alpn())?, self.listener);
                serve_tls(server, listener, stopping).await
            }
        }
    }
}

impl Protocol {
    /// The names of RFC 7301, best first.
    fn alpn(self) -> &'static [&'static str] {
        match self {
            Self::Grpc => &["h2"],
            Self::Http => &["h2", "http/1.1"],
        }
    }
}

async fn serve_plain(server: TonicRouter, listener: TcpListener, stopping: CancellationToken) -> anyhow::Result<()> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    server.serve_with_incoming_shutdown(incoming, stopping.cancelled_owned()).await.context("serving")
}

async fn serve_tls(
    server: TonicRouter,
    listener: TlsListener<TcpListener, tokio_rustls::TlsAcceptor>,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    // Whoever fails to shake hands is their own problem.
    let incoming = listener.filter_map(async |accepted| match accepted {
        Ok((connection, _)) => {
            let nodelay = connection.get_ref().0.set_nodelay(true);
            nodelay.ok().map(|()| Ok::<_, Infallible>(connection))
        }
        Err(error) => {
            tracing::debug!(error = %error, "a connection was not accepted");
            None
        }
    });
    server.serve_with_incoming_shutdown(incoming, stopping.cancelled_owned()).map_err(Into::into).await
}
