//! Listeners: each accepts connections, with or without TLS, and passes their requests to a router. All of them stop
//! together, and wait for the calls in progress.

mod accept;
mod call;
mod connection;
mod connections;
mod deadline;
mod detect;
mod head_timer;
mod http;
mod pace;
mod transport;

use std::sync::Arc;

use axum::Router;
use futures_util::future::try_join_all;
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;

pub use call::Call;
pub use connection::Credit;
pub use connections::{ConnectionLimits, Connections, Lifetimes};

use crate::tls::Certificate;

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
    connections: Arc<Connections>,
    stopping: CancellationToken,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<Drained> {
    let serving =
        endpoints.into_iter().map(|endpoint| endpoint.serve(certificate.as_ref(), &connections, stopping.clone()));
    let serving = try_join_all(serving.collect::<Vec<_>>());
    let deadline = async {
        shutdown.await;
        stopping.cancel();
        sleep(connections.lifetimes.drain).await;
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
        connections: &Arc<Connections>,
        stopping: CancellationToken,
    ) -> anyhow::Result<()> {
        let Self { listener, protocol, router } = self;
        let lifetimes = connections.lifetimes;
        match certificate {
            None => http::serve(protocol, router, accept::plain(listener, connections), lifetimes, stopping).await,
            Some(certificate) => {
                let incoming = accept::tls(listener, connections, certificate.acceptor(protocol.alpn())?);
                http::serve(protocol, router, incoming, lifetimes, stopping).await;
            }
        }
        Ok(())
    }
}

impl Protocol {
    /// The protocol names for ALPN (RFC 7301), preferred first.
    fn alpn(self) -> &'static [&'static str] {
        match self {
            Self::Grpc => &["h2"],
            Self::Http => &["h2", "http/1.1"],
        }
    }
}
