//! A way to Postgres that can be broken at a chosen moment.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::{JoinHandle, JoinSet},
};

use super::Port;

/// How Postgres says that a statement is over, committed or not, and no transaction is open.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// What happens to a connection at an armed statement.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// It breaks; Postgres never sees the statement.
    BeforeTheStatement,
    /// It breaks; Postgres has committed, and nobody hears of it.
    BeforeTheAnswer,
    /// Postgres has committed, and nobody hears of it before [`Proxy::release`].
    UntilReleased,
}

/// A forwarder from a loopback port to Postgres.
#[derive(Debug)]
pub struct Proxy {
    pub port: Port,
    target: SocketAddr,
    faults: Arc<Faults>,
    forwarding: Option<JoinHandle<()>>,
}

/// What connections suffer.
#[derive(Debug, Default)]
struct Faults {
    /// The next statement that holds these bytes.
    armed: Mutex<Option<(&'static [u8], Cut)>>,
    released: Notify,
    /// Raised each time that all connections there are freeze.
    frozen: watch::Sender<u32>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let mut proxy = Self { port: Port::reserve(), target, faults: Arc::default(), forwarding: None };
        proxy.come_back().await;
        proxy
    }

    /// Breaks every connection and refuses new ones.
    pub async fn go_away(&mut self) {
        let forwarding = self.forwarding.take().expect("it was there");
        forwarding.abort();
        forwarding.await.expect_err("it would have gone on");
    }

    /// Accepts connections, again.
    pub async fn come_back(&mut self) {
        let listener = self.port.listen().await;
        self.forwarding = Some(tokio::spawn(accept(listener, self.target, Arc::clone(&self.faults))));
    }

    /// Has every connection there is fall silent for good, without a word to either end. New ones are as ever.
    pub fn freeze(&self) {
        self.faults.frozen.send_modify(|times| *times += 1);
    }

    /// Does something to the connection of the next statement that has `bytes` among its parameters.
    pub fn arm(&self, bytes: &'static [u8], cut: Cut) {
        *self.faults.armed.lock().expect("unpoisoned") = Some((bytes, cut));
    }

    /// Whether what was armed has not happened yet.
    pub fn is_armed(&self) -> bool {
        self.faults.armed.lock().expect("unpoisoned").is_some()
    }

    /// Lets the answer go that is held.
    pub fn release(&self) {
        self.faults.released.notify_one();
    }
}

impl Faults {
    fn strike(&self, asked: &[u8]) -> Option<Cut> {
        let mut armed = self.armed.lock().expect("unpoisoned");
        let (_, cut) = armed.take_if(|(bytes, _)| asked.windows(bytes.len()).any(|window| window == *bytes))?;
        Some(cut)
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, faults: Arc<Faults>) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(forward(client, target, Arc::clone(&faults)));
    }
}

/// Forwards until either end closes. A closed end and a broken one are the same to a test.
async fn forward(mut client: TcpStream, target: SocketAddr, faults: Arc<Faults>) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    let mut frozen = faults.frozen.subscribe();
    let (mut asked, mut answered) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read? {
                0 => return Ok(()),
                length => {
                    let cut = faults.strike(&asked[..length]);
                    if matches!(cut, Some(Cut::BeforeTheStatement)) {
                        return Ok(());
                    }
                    server.write_all(&asked[..length]).await?;
                    match cut {
                        Some(Cut::BeforeTheAnswer) => return swallow_answer(&mut server).await,
                        Some(Cut::UntilReleased) => faults.released.notified().await,
                        _ => {}
                    }
                }
            },
            read = server.read(&mut answered) => match read? {
                0 => return Ok(()),
                length => client.write_all(&answered[..length]).await?,
            },
            _ = frozen.changed() => pending().await,
        }
    }
}

async fn swallow_answer(server: &mut TcpStream) -> io::Result<()> {
    let mut answer = Vec::new();
    while !answer.ends_with(READY) && server.read_buf(&mut answer).await? > 0 {}
    Ok(())
}
