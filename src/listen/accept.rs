//! New connections, once they have said what they speak: one that keeps silent before, or does not shake hands, is closed.

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{
    io::AsyncRead,
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Sender},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

use super::greeted::Greeted;

/// How long a new connection may take to shake hands, and to say what it speaks.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait before accepting again after that failed: most likely there are no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How many connections may wait to be served.
const BACKLOG: usize = 64;

/// Connections as they are.
pub fn plain(listener: TcpListener) -> ReceiverStream<io::Result<Greeted<TcpStream>>> {
    ready(listener, |connection| async { Ok(connection) })
}

/// Connections with TLS.
pub fn tls(listener: TcpListener, acceptor: TlsAcceptor) -> ReceiverStream<io::Result<Greeted<TlsStream<TcpStream>>>> {
    ready(listener, move |connection| acceptor.accept(connection))
}

/// Accepts until nobody wants connections any more.
fn ready<Connection, Handshake>(
    listener: TcpListener,
    shake_hands: impl Fn(TcpStream) -> Handshake + Send + Sync + 'static,
) -> ReceiverStream<io::Result<Greeted<Connection>>>
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
                Ok((connection, _)) => drop(tokio::spawn(welcome(connection, Arc::clone(&shake_hands), ready.clone()))),
                Err(error) => {
                    tracing::warn!(error = %error, "a connection was not accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    });
    ReceiverStream::new(connections)
}

async fn welcome<Connection: AsyncRead + Unpin, Handshake>(
    connection: TcpStream,
    shake_hands: Arc<impl Fn(TcpStream) -> Handshake>,
    ready: Sender<io::Result<Greeted<Connection>>>,
) where
    Handshake: Future<Output = io::Result<Connection>>,
{
    let greeting = async {
        connection.set_nodelay(true)?;
        Greeted::by(shake_hands(connection).await?).await
    };
    match timeout(GREETING_TIMEOUT, greeting).await {
        Ok(Ok(connection)) => drop(ready.send(Ok(connection)).await),
        Ok(Err(error)) => tracing::debug!(error = %error, "a connection came to nothing"),
        Err(_) => tracing::debug!("a connection kept silent"),
    }
}
