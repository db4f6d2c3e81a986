//! Accepts connections, and returns each one when its protocol is known. A connection that sends nothing, or fails its
//! TLS handshake, is closed.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::AsyncRead,
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Sender},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

use super::detect::{Prefixed, detect_protocol};

/// How long the TLS handshake and the first bytes of a new connection may take together.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait after accepting has failed: most likely there are no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How many accepted connections may wait to be served.
const BACKLOG: usize = 64;

/// Connections without TLS.
pub fn plain(listener: TcpListener) -> ReceiverStream<io::Result<Prefixed<TcpStream>>> {
    accept(listener, |connection| async { Ok(connection) })
}

/// Connections with TLS.
pub fn tls(listener: TcpListener, acceptor: TlsAcceptor) -> ReceiverStream<io::Result<Prefixed<TlsStream<TcpStream>>>> {
    accept(listener, move |connection| acceptor.accept(connection))
}

/// Accepts until the returned stream is dropped.
fn accept<Connection, Handshake>(
    listener: TcpListener,
    shake_hands: impl Fn(TcpStream) -> Handshake + Send + Sync + 'static,
) -> ReceiverStream<io::Result<Prefixed<Connection>>>
where
    Connection: AsyncRead + Unpin + Send + 'static,
    Handshake: Future<Output = io::Result<Connection>> + Send + 'static,
{
    let (ready, connections) = mpsc::channel(BACKLOG);
    let shake_hands = Arc::new(shake_hands);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            match accepted {
                Ok((connection, _)) => drop(tokio::spawn(prepare(connection, Arc::clone(&shake_hands), ready.clone()))),
                Err(error) => {
                    tracing::warn!(error = %error, "a connection was not accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    });
    ReceiverStream::new(connections)
}

async fn prepare<Connection: AsyncRead + Unpin, Handshake>(
    connection: TcpStream,
    shake_hands: Arc<impl Fn(TcpStream) -> Handshake>,
    ready: Sender<io::Result<Prefixed<Connection>>>,
) where
    Handshake: Future<Output = io::Result<Connection>>,
{
    let detected = async {
        connection.set_nodelay(true)?;
        detect_protocol(shake_hands(connection).await?).await
    };
    match timeout(HANDSHAKE_TIMEOUT, detected).await {
        Ok(Ok(connection)) => drop(ready.send(Ok(connection)).await),
        Ok(Err(error)) => tracing::debug!(error = %error, "a new connection failed"),
        Err(_) => tracing::debug!("a new connection sent nothing in time"),
    }
}
