//! A proxy between the service and Postgres that breaks at a chosen moment.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::{JoinHandle, JoinSet},
};

use super::{App, Port};

/// A parameter of every statement that changes a session for a caller, and of no other statement.
pub const CREDENTIAL: &[u8] = b"access-token";

/// The message of Postgres after a statement, when no transaction is open.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// What happens to a connection at an armed statement.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// It breaks before Postgres receives the statement.
    BeforeTheStatement,
    /// It breaks after Postgres has committed, before the answer is passed on.
    BeforeTheAnswer,
    /// Postgres has committed. The answer waits for [`Proxy::release`].
    UntilReleased,
}

/// A forwarder from a loopback port to Postgres.
#[derive(Debug)]
pub struct Proxy {
    pub port: Port,
    target: Arc<Mutex<SocketAddr>>,
    faults: Arc<Faults>,
    forwarding: Option<JoinHandle<()>>,
}

/// The faults that connections run into.
#[derive(Debug, Default)]
struct Faults {
    /// What happens at the next statement that contains these bytes.
    armed: Mutex<Option<(&'static [u8], Cut)>>,
    released: Notify,
    /// Counts how often all connections were frozen.
    frozen: watch::Sender<u32>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let target = Arc::new(Mutex::new(target));
        let mut proxy = Self { port: Port::reserve(), target, faults: Arc::default(), forwarding: None };
        proxy.restart().await;
        proxy
    }

    /// Breaks every connection and refuses new ones.
    pub async fn stop(&mut self) {
        let forwarding = self.forwarding.take().expect("a running proxy");
        forwarding.abort();
        forwarding.await.expect_err("aborted");
    }

    /// Accepts connections again.
    pub async fn restart(&mut self) {
        let listener = self.port.listen().await;
        let target = Arc::clone(&self.target);
        self.forwarding = Some(tokio::spawn(accept(listener, target, Arc::clone(&self.faults))));
    }

    /// Breaks every connection. New ones lead to another server.
    pub async fn switch_to(&mut self, target: SocketAddr) {
        self.stop().await;
        *self.target.lock().expect("unpoisoned") = target;
        self.restart().await;
    }

    /// Freezes every open connection permanently, without closing it. New connections work.
    pub fn freeze(&self) {
        self.faults.frozen.send_modify(|times| *times += 1);
    }

    /// Arms `cut` for the next statement that has `bytes` among its parameters.
    pub fn arm(&self, bytes: &'static [u8], cut: Cut) {
        *self.faults.armed.lock().expect("unpoisoned") = Some((bytes, cut));
    }

    /// Whether the armed cut has not happened yet.
    pub fn is_armed(&self) -> bool {
        self.faults.armed.lock().expect("unpoisoned").is_some()
    }

    /// Passes on the answer that is held back.
    pub fn release(&self) {
        self.faults.released.notify_one();
    }
}

impl App {
    /// A service behind a proxy to Postgres. The test's own connections bypass the proxy.
    pub async fn behind_proxy() -> (Self, Proxy) {
        let mut app = Self::start().await;
        let proxy = app.restart_behind_proxy().await;
        (app, proxy)
    }

    /// Starts the service again, behind a proxy to Postgres.
    pub async fn restart_behind_proxy(&mut self) -> Proxy {
        self.stop().await;
        let direct: PgConnectOptions = self.database.url.parse().expect("an address");
        let target = tokio::net::lookup_host((direct.get_host(), direct.get_port())).await.expect("a host").next();
        let proxy = Proxy::start(target.expect("an address")).await;
        let through = format!("127.0.0.1:{}", proxy.port.address.port());
        let url = self.database.url.replace(&format!("{}:{}", direct.get_host(), direct.get_port()), &through);
        assert!(url.contains(&through), "{url}");
        self.set_flag("database-url", &url);
        self.run().await;
        proxy
    }
}

impl Faults {
    fn cut_at(&self, request: &[u8]) -> Option<Cut> {
        let mut armed = self.armed.lock().expect("unpoisoned");
        let (_, cut) = armed.take_if(|(bytes, _)| request.windows(bytes.len()).any(|window| window == *bytes))?;
        Some(cut)
    }
}

async fn accept(listener: TcpListener, target: Arc<Mutex<SocketAddr>>, faults: Arc<Faults>) {
    // Dropping this with the task closes all connections.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let target = *target.lock().expect("unpoisoned");
        connections.spawn(forward(client, target, Arc::clone(&faults)));
    }
}

/// Forwards until either end closes or breaks.
async fn forward(mut client: TcpStream, target: SocketAddr, faults: Arc<Faults>) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    let mut frozen = faults.frozen.subscribe();
    let (mut request, mut answer) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut request) => match read? {
                0 => return Ok(()),
                length => {
                    let cut = faults.cut_at(&request[..length]);
                    if matches!(cut, Some(Cut::BeforeTheStatement)) {
                        return Ok(());
                    }
                    server.write_all(&request[..length]).await?;
                    match cut {
                        Some(Cut::BeforeTheAnswer) => return drop_answer(&mut server).await,
                        Some(Cut::UntilReleased) => faults.released.notified().await,
                        _ => {}
                    }
                }
            },
            read = server.read(&mut answer) => match read? {
                0 => return Ok(()),
                length => client.write_all(&answer[..length]).await?,
            },
            _ = frozen.changed() => pending().await,
        }
    }
}

async fn drop_answer(server: &mut TcpStream) -> io::Result<()> {
    let mut answer = Vec::new();
    while !answer.ends_with(READY) && server.read_buf(&mut answer).await? > 0 {}
    Ok(())
}
