//! Accepts connections, and returns each one when its protocol is known. A connection that sends nothing, or fails its
//! TLS handshake, is closed, and so is one too many.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::AsyncRead,
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    connections::{ConnectionPermit, Connections},
    detect::{Prefixed, detect_protocol},
};

/// How long the TLS handshake and the first bytes of a new connection may take together.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait after accepting has failed: most likely there are no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How many accepted connections may wait to be served.
const BACKLOG: usize = 64;

/// How many bytes of a connection the system keeps that it has not sent yet. Without a limit it keeps up to 4 MiB, and
/// has room for more only when a third of them has been sent: a slow client would be taken for one that reads nothing,
/// and a short answer or a PING would wait behind them.
#[cfg(target_os = "linux")]
const MAX_UNSENT_BYTES: u32 = 128 * 1024;

/// A connection whose protocol is known.
pub struct Accepted<Transport> {
    pub transport: Prefixed<Transport>,
    /// Kept as long as the connection.
    pub permit: ConnectionPermit,
}

/// Connections without TLS.
pub fn plain(listener: TcpListener, connections: &Arc<Connections>) -> Receiver<Accepted<TcpStream>> {
    accept(listener, connections, |connection| async { Ok(connection) })
}

/// Connections with TLS.
pub fn tls(
    listener: TcpListener,
    connections: &Arc<Connections>,
    acceptor: TlsAcceptor,
) -> Receiver<Accepted<TlsStream<TcpStream>>> {
    accept(listener, connections, move |connection| acceptor.accept(connection))
}

/// Accepts until the receiver is dropped.
fn accept<Transport, Handshake>(
    listener: TcpListener,
    connections: &Arc<Connections>,
    shake_hands: impl Fn(TcpStream) -> Handshake + Send + Sync + 'static,
) -> Receiver<Accepted<Transport>>
where
    Transport: AsyncRead + Unpin + Send + 'static,
    Handshake: Future<Output = io::Result<Transport>> + Send + 'static,
{
    let (ready, accepted) = mpsc::channel(BACKLOG);
    let (connections, shake_hands) = (Arc::clone(connections), Arc::new(shake_hands));
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            match accepted {
                Ok((connection, peer)) => {
                    // Closed at once if it is one too many.
                    if let Some(permit) = connections.take(peer.ip()) {
                        tokio::spawn(prepare(connection, permit, Arc::clone(&shake_hands), ready.clone()));
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error, "a connection was not accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    });
    accepted
}

async fn prepare<Transport: AsyncRead + Unpin, Handshake>(
    connection: TcpStream,
    permit: ConnectionPermit,
    shake_hands: Arc<impl Fn(TcpStream) -> Handshake>,
    ready: Sender<Accepted<Transport>>,
) where
    Handshake: Future<Output = io::Result<Transport>>,
{
    let detected = async {
        set_options(&connection)?;
        detect_protocol(shake_hands(connection).await?).await
    };
    match timeout(HANDSHAKE_TIMEOUT, detected).await {
        Ok(Ok(transport)) => drop(ready.send(Accepted { transport, permit }).await),
        Ok(Err(error)) => tracing::debug!(error = %error, "a new connection failed"),
        Err(_) => tracing::debug!("a new connection sent nothing in time"),
    }
}

fn set_options(connection: &TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(connection).set_tcp_notsent_lowat(MAX_UNSENT_BYTES)?;
    Ok(())
}
