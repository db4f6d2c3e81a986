//! What the clients of a history do, drawn from its seed.

use std::{ops::Range, time::Duration};

use fastrand::Rng;

use super::{call::Actor, model::CELLS};

/// The longest pause between two steps of a client.
const MAX_PAUSE: Duration = Duration::from_millis(60);

/// How long a range may stall in the middle.
const MAX_STALL: Duration = Duration::from_millis(400);

/// What one client does.
#[derive(Debug, Clone)]
pub struct Script {
    pub actor: Actor,
    pub steps: Vec<Step>,
}

/// One step of a client.
#[derive(Debug, Clone)]
pub struct Step {
    /// How long the client waits before it.
    pub pause: Duration,
    pub via: Via,
    pub action: Action,
}

/// Where a call is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A replica, over gRPC.
    Replica(usize),
    /// The gateway, over REST.
    Gateway,
}

/// What to call. Sessions are chosen when the step runs, among those that the clients know by then.
#[derive(Debug, Clone)]
pub enum Action {
    Create {
        variant: u8,
    },
    Send {
        which: Which,
        cells: Range<usize>,
        has_digest: bool,
        stall: Duration,
    },
    /// The client's last range once more, with the same bytes.
    Repeat {
        has_digest: bool,
    },
    Get {
        by: Naming,
    },
    Delete {
        by: Naming,
    },
    CancelJob,
    DeleteJob,
    Download,
}

/// Which of the known sessions.
#[derive(Debug, Clone, Copy)]
pub enum Which {
    /// The one that was created last.
    Latest,
    /// Any other.
    Older,
}

/// How a session is named.
#[derive(Debug, Clone, Copy)]
pub enum Naming {
    Id(Which),
    UploadUrl(Which),
    Document,
}

/// What most of a history is about.
#[derive(Debug, Clone, Copy)]
struct Weights {
    create: u32,
    send: u32,
    repeat: u32,
    get: u32,
    delete: u32,
    cancel_job: u32,
    delete_job: u32,
    download: u32,
    /// Of a thousand steps, how many wait until an idle session has expired.
    expiry: u32,
}

/// Uploads that complete, cancels, expiries, and the ends of jobs.
const THEMES: [Weights; 4] = [
    Weights {
        create: 10,
        send: 60,
        repeat: 12,
        get: 10,
        delete: 2,
        cancel_job: 0,
        delete_job: 0,
        download: 6,
        expiry: 5,
    },
    Weights {
        create: 22,
        send: 36,
        repeat: 8,
        get: 12,
        delete: 20,
        cancel_job: 0,
        delete_job: 0,
        download: 2,
        expiry: 5,
    },
    Weights {
        create: 18,
        send: 40,
        repeat: 8,
        get: 16,
        delete: 6,
        cancel_job: 0,
        delete_job: 0,
        download: 2,
        expiry: 150,
    },
    Weights {
        create: 16,
        send: 46,
        repeat: 8,
        get: 10,
        delete: 6,
        cancel_job: 4,
        delete_job: 4,
        download: 6,
        expiry: 5,
    },
];

/// The scripts of a history's clients. The first two share an owner, so that they share sessions.
pub fn scripts(rng: &mut Rng, steps: usize, idle_timeout: Duration) -> Vec<Script> {
    let weights = THEMES[rng.usize(..THEMES.len())];
    let owner = Actor::ALL[rng.usize(..Actor::ALL.len())];
    let others = [owner, owner, Actor::ALL[rng.usize(..3)], Actor::ALL[rng.usize(..3)]];
    let clients = rng.usize(2..=others.len());
    let script = |(client, actor): (usize, &Actor)| {
        let mut steps: Vec<Step> = (0..steps).map(|_| step(rng, weights, idle_timeout)).collect();
        if client == 0 {
            steps.insert(0, Step { pause: Duration::ZERO, via: via(rng), action: Action::Create { variant: 0 } });
        }
        Script { actor: *actor, steps }
    };
    others[..clients].iter().enumerate().map(script).collect()
}

fn step(rng: &mut Rng, weights: Weights, idle_timeout: Duration) -> Step {
    let waits_for_expiry = rng.u32(..1000) < weights.expiry;
    let pause =
        if waits_for_expiry { idle_timeout.mul_f64(0.9 + 0.3 * rng.f64()) } else { MAX_PAUSE.mul_f64(rng.f64()) };
    Step { pause, via: via(rng), action: action(rng, weights) }
}

fn via(rng: &mut Rng) -> Via {
    match rng.usize(..5) {
        0 => Via::Gateway,
        number => Via::Replica(number % 2),
    }
}

fn action(rng: &mut Rng, weights: Weights) -> Action {
    let Weights { create, send, repeat, get, delete, cancel_job, delete_job, download, .. } = weights;
    let kinds = [create, send, repeat, get, delete, cancel_job, delete_job, download];
    let mut drawn = rng.u32(..kinds.iter().sum::<u32>());
    let kind = kinds.iter().position(|weight| {
        let is_drawn = drawn < *weight;
        drawn = drawn.saturating_sub(*weight);
        is_drawn
    });
    match kind {
        Some(0) => Action::Create { variant: u8::from(rng.u32(..12) == 0) },
        Some(1) => send_action(rng),
        Some(2) => Action::Repeat { has_digest: rng.bool() },
        Some(4) => Action::Delete { by: naming(rng) },
        Some(5) => Action::CancelJob,
        Some(6) => Action::DeleteJob,
        Some(7) => Action::Download,
        _ => Action::Get { by: naming(rng) },
    }
}

fn send_action(rng: &mut Rng) -> Action {
    let start = rng.usize(..CELLS);
    let end = if rng.u32(..8) == 0 { CELLS } else { (start + rng.usize(1..=3)).min(CELLS) };
    let stall = if rng.u32(..4) == 0 { MAX_STALL.mul_f64(rng.f64()) } else { Duration::ZERO };
    Action::Send { which: which(rng), cells: start..end, has_digest: rng.u32(..3) == 0, stall }
}

fn naming(rng: &mut Rng) -> Naming {
    match rng.u32(..3) {
        0 => Naming::Document,
        1 => Naming::UploadUrl(which(rng)),
        _ => Naming::Id(which(rng)),
    }
}

fn which(rng: &mut Rng) -> Which {
    if rng.u32(..10) == 0 { Which::Older } else { Which::Latest }
}
