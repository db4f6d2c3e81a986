//! Forwards connections from an address that stays to one that changes, and cuts or delays them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// How much is forwarded at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// A listener on loopback, and what it forwards to.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    settings: Arc<watch::Sender<Settings>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Settings {
    /// Without one, connections are closed.
    target: Option<SocketAddr>,
    delay: Duration,
    /// Counts how often all connections were cut.
    cuts: u32,
}

impl Proxy {
    /// Listens on a free port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let settings = Arc::new(watch::Sender::new(Settings::default()));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&settings)));
        Ok(Self { address, settings, accepting })
    }

    /// From now on forwards new connections to this address, or closes them.
    pub fn set_target(&self, target: Option<SocketAddr>) {
        self.settings.send_modify(|settings| settings.target = target);
    }

    /// From now on everything arrives late.
    pub fn set_delay(&self, delay: Duration) {
        self.settings.send_modify(|settings| settings.delay = delay);
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        self.settings.send_modify(|settings| settings.cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, settings: Arc<watch::Sender<Settings>>) {
    loop {
        // An error belongs to one connection, or passes with the load.
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::spawn(forward(client, settings.subscribe()));
    }
}

/// Forwards both ways until either end closes, or all connections are cut.
async fn forward(client: TcpStream, mut settings: watch::Receiver<Settings>) -> io::Result<()> {
    let Settings { target, cuts, .. } = *settings.borrow();
    let Some(target) = target else { return Ok(()) };
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client, server) = (client.into_split(), server.into_split());
    let up = copy(client.0, server.1, settings.clone());
    let down = copy(server.0, client.1, settings.clone());
    let is_cut = settings.wait_for(|settings| settings.cuts != cuts);
    tokio::select! {
        forwarded = async { tokio::try_join!(up, down) } => forwarded.map(|_| ()),
        _ = is_cut => Ok(()),
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, settings: watch::Receiver<Settings>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let delay = settings.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}
