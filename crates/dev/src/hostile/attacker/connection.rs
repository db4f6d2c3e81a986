//! Connections of the attacker, from addresses that nobody else has.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{Attack, NOT_CONNECTED, counts::Counts, frames, ramp, seconds_since};

/// How long the reason for an end may arrive after it was noticed that nothing can be sent any more.
const LAST_FRAMES: Duration = Duration::from_secs(1);

/// How long a connection waits before it is opened again.
pub const PAUSE: Duration = Duration::from_millis(100);

/// How long a flood of a quick run waits between two pieces: others have time in a debug build as well.
const QUICK_PAUSE: Duration = Duration::from_millis(100);

/// Both halves of a connection.
pub struct Connection {
    pub read: OwnedReadHalf,
    pub write: Writer,
}

/// The half that sends.
pub struct Writer {
    half: OwnedWriteHalf,
    counts: Arc<Counts>,
    /// Between two pieces of a flood. None in a usual run.
    pause: Option<Duration>,
}

/// Connects from the n-th address of the attacker. `receive_bytes` is the size of the buffer of what is not read.
pub async fn connect(
    attack: &Attack,
    to: SocketAddr,
    address: usize,
    receive_bytes: Option<u32>,
) -> io::Result<Connection> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    let from = Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 1).to_bits() + address as u32);
    socket.bind((from, 0).into())?;
    let stream: TcpStream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    attack.counts.connections.fetch_add(1, Ordering::Relaxed);
    let (read, half) = stream.into_split();
    let write = Writer { half, counts: Arc::clone(&attack.counts), pause: attack.is_quick.then_some(QUICK_PAUSE) };
    Ok(Connection { read, write })
}

impl Writer {
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.half.write_all(bytes).await?;
        self.counts.add_bytes(bytes.len());
        Ok(())
    }

    /// Sends each piece, which counts as so many units, as fast as it is taken.
    pub async fn flood(&mut self, mut next: impl FnMut() -> Vec<u8>, units: usize) -> io::Error {
        loop {
            if let Err(error) = self.send(&next()).await {
                return error;
            }
            self.counts.add_units(units);
            if let Some(pause) = self.pause {
                sleep(pause).await;
            }
        }
    }

    /// Sends one byte a second.
    pub async fn trickle(&mut self, bytes: impl IntoIterator<Item = u8>) -> io::Error {
        for byte in bytes {
            if let Err(error) = self.send(&[byte]).await {
                return error;
            }
            self.counts.add_unit();
            sleep(Duration::from_secs(1)).await;
        }
        std::future::pending().await
    }
}

/// Plays on one connection over HTTP/2 while what comes back is read, until the connection ends. Returns how.
pub async fn play_and_read(
    attack: &Attack,
    connection: Connection,
    play: impl AsyncFnOnce(&mut Writer) -> io::Error,
) -> String {
    let Connection { mut read, mut write } = connection;
    let counts = Arc::clone(&attack.counts);
    // A task of its own: a flood leaves no time to read.
    let reading = tokio::spawn(async move { frames::read_to_end(&mut read, &counts).await });
    let mut reading = AbortOnDropHandle::new(reading);
    let ended = tokio::select! {
        ended = &mut reading => ended,
        error = play(&mut write) => {
            // What was sent last by the service may explain it.
            let ended = timeout(LAST_FRAMES, &mut reading).await;
            ended.unwrap_or_else(|_| Ok(frames::closed(&error)))
        }
    };
    ended.unwrap_or_else(|error| error.to_string())
}

/// Keeps `count` connections busy: each is played until it ends. If `again` is set, another one follows after so long.
/// Runs for ever.
pub async fn swarm<F: Future<Output = io::Result<String>> + Send + 'static>(
    attack: &Arc<Attack>,
    count: usize,
    again: Option<Duration>,
    play: impl Fn(Arc<Attack>, usize) -> F + Clone + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let mut slots = JoinSet::new();
    for number in 0..count {
        let (attack, play) = (Arc::clone(attack), play.clone());
        slots.spawn(async move {
            ramp(number).await;
            loop {
                let begun = Instant::now();
                let how = play(Arc::clone(&attack), number).await;
                let how = how.unwrap_or_else(|error| format!("{NOT_CONNECTED}: {error}"));
                attack.counts.add_ending(how, seconds_since(begun));
                let Some(pause) = again else { return };
                sleep(pause).await;
            }
        });
    }
    while let Some(ended) = slots.join_next().await {
        ended?;
    }
    super::hold().await;
    Ok(())
}
