//! New connections, once they have something to say: one that keeps silent, or does not shake hands, is closed.

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Sender},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

/// How long a new connection may take to send its first byte, and to shake hands.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait before accepting again after that failed: most likely there are no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How many connections may wait to be served.
const BACKLOG: usize = 64;

/// Connections as they are.
pub fn plain(listener: TcpListener) -> ReceiverStream<io::Result<TcpStream>> {
    ready(listener, |connection| async { Ok(connection) })
}

/// Connections with TLS.
pub fn tls(listener: TcpListener, acceptor: TlsAcceptor) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    ready(listener, move |connection| acceptor.accept(connection))
}

/// Accepts until nobody wants connections any more.
fn ready<Connection, Greeting>(
    listener: TcpListener,
    greet: impl Fn(TcpStream) -> Greeting + Send + Sync + 'static,
) -> ReceiverStream<io::Result<Connection>>
where
    Connection: Send + 'static,
    Greeting: Future<Output = io::Result<Connection>> + Send + 'static,
{
    let (ready, connections) = mpsc::channel(BACKLOG);
    let greet = Arc::new(greet);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            match accepted {
                Ok((connection, _)) => drop(tokio::spawn(welcome(connection, Arc::clone(&greet), ready.clone()))),
                Err(error) => {
                    tracing::warn!(error = %error, "a connection was not accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    });
    ReceiverStream::new(connections)
}

async fn welcome<Connection, Greeting>(
    connection: TcpStream,
    greet: Arc<impl Fn(TcpStream) -> Greeting>,
    ready: Sender<io::Result<Connection>>,
) where
    Greeting: Future<Output = io::Result<Connection>>,
{
    let greeting = async {
        connection.set_nodelay(true)?;
        connection.peek(&mut [0]).await?;
        greet(connection).await
    };
    match timeout(GREETING_TIMEOUT, greeting).await {
        Ok(Ok(connection)) => drop(ready.send(Ok(connection)).await),
        Ok(Err(error)) => tracing::debug!(error = %error, "a connection came to nothing"),
        Err(_) => tracing::debug!("a connection kept silent"),
    }
}
