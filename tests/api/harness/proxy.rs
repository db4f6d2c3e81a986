//! A way to Postgres that can be broken at a chosen moment.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::Port;

/// How Postgres says that a statement is over, committed or not, and no transaction is open.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// When an armed connection breaks.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// Postgres never sees the statement.
    BeforeTheStatement,
    /// Postgres has committed, and nobody hears of it.
    BeforeTheAnswer,
}

/// A forwarder from a loopback port to Postgres.
#[derive(Debug)]
pub struct Proxy {
    pub port: Port,
    target: SocketAddr,
    armed: Armed,
    frozen: Frozen,
    forwarding: Option<JoinHandle<()>>,
}

/// Raised each time that all connections there are freeze.
type Frozen = watch::Sender<u32>;

/// What the next statement that holds these bytes suffers.
type Armed = Arc<Mutex<Option<(&'static [u8], Cut)>>>;

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let mut proxy = Self {
            port: Port::reserve(),
            target,
            armed: Armed::default(),
            frozen: Frozen::default(),
            forwarding: None,
        };
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
        self.forwarding = Some(tokio::spawn(accept(
            self.port.listen().await,
            self.target,
            Arc::clone(&self.armed),
            self.frozen.clone(),
        )));
    }

    /// Has every connection there is fall silent for good, without a word to either end. New ones are as ever.
    pub fn freeze(&self) {
        self.frozen.send_modify(|times| *times += 1);
    }

    /// Breaks the connection of the next statement that has `bytes` among its parameters.
    pub fn arm(&self, bytes: &'static [u8], cut: Cut) {
        *self.armed.lock().expect("unpoisoned") = Some((bytes, cut));
    }

    /// Whether what was armed has not happened yet.
    pub fn is_armed(&self) -> bool {
        self.armed.lock().expect("unpoisoned").is_some()
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, armed: Armed, frozen: Frozen) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(forward(client, target, Arc::clone(&armed), frozen.subscribe()));
    }
}

/// Forwards until either end closes. A closed end and a broken one are the same to a test.
async fn forward(
    mut client: TcpStream,
    target: SocketAddr,
    armed: Armed,
    mut frozen: watch::Receiver<u32>,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    let (mut asked, mut answered) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read? {
                0 => return Ok(()),
                length => match strike(&armed, &asked[..length]) {
                    None => server.write_all(&asked[..length]).await?,
                    Some(Cut::BeforeTheStatement) => return Ok(()),
                    Some(Cut::BeforeTheAnswer) => {
                        server.write_all(&asked[..length]).await?;
                        return swallow_answer(&mut server).await;
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

fn strike(armed: &Armed, asked: &[u8]) -> Option<Cut> {
    let mut armed = armed.lock().expect("unpoisoned");
    let (_, cut) = armed.take_if(|(bytes, _)| asked.windows(bytes.len()).any(|window| window == *bytes))?;
    Some(cut)
}

async fn swallow_answer(server: &mut TcpStream) -> std::io::Result<()> {
    let mut answer = Vec::new();
    while !answer.ends_with(READY) && server.read_buf(&mut answer).await? > 0 {}
    Ok(())
}
