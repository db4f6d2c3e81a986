//! What goes wrong during a round, drawn from its seed.

use std::time::Duration;

use fastrand::Rng;

use super::system::REPLICAS;

/// The time between two faults.
const PAUSE: std::ops::Range<u64> = 150..900;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Every connection of clients to a replica breaks.
    CutClients(usize),
    /// Every connection of a replica to Postgres breaks.
    CutDatabase(usize),
    /// Every connection of clients to the gateway breaks.
    CutGateway,
    /// What clients and a replica send each other arrives late, for a while.
    DelayClients(usize, Delay),
    /// The same for a replica and Postgres.
    DelayDatabase(usize, Delay),
    /// A replica is killed (SIGKILL), and started again.
    KillReplica(usize),
    /// A replica is stopped (SIGSTOP), and goes on after a while.
    StopReplica(usize, Duration),
    /// Postgres ends at once, without a checkpoint, and recovers from its log.
    CrashPostgres,
    /// Nothing can be written to or read from the store, for a while.
    FailStore(Duration),
}

/// Bytes arrive `by` late, as long as this lasts.
#[derive(Debug, Clone, Copy)]
pub struct Delay {
    pub by: Duration,
    pub lasts: Duration,
}

/// The faults of a round, each with the pause before it. One round in four has none: there only races go wrong.
pub fn faults(rng: &mut Rng, lasts: Duration) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    if rng.u32(..4) == 0 {
        return faults;
    }
    let mut time = Duration::ZERO;
    loop {
        let pause = Duration::from_millis(rng.u64(PAUSE));
        time += pause;
        if time >= lasts {
            return faults;
        }
        faults.push((pause, fault(rng)));
    }
}

fn fault(rng: &mut Rng) -> Fault {
    let replica = rng.usize(..REPLICAS);
    let mut milliseconds = |range| Duration::from_millis(rng.u64(range));
    let delay = Delay { by: milliseconds(10..300), lasts: milliseconds(200..800) };
    let stop = milliseconds(50..1500);
    match rng.u32(..12) {
        0 | 1 => Fault::CutClients(replica),
        2 | 3 => Fault::CutDatabase(replica),
        4 => Fault::CutGateway,
        5 => Fault::DelayClients(replica, delay),
        6 => Fault::DelayDatabase(replica, delay),
        7 | 8 => Fault::KillReplica(replica),
        9 => Fault::StopReplica(replica, stop),
        10 => Fault::CrashPostgres,
        _ => Fault::FailStore(stop),
    }
}
