//! The hostile side: a process of its own, so that it can be niced. It reads its order from standard input, prepares,
//! prints `ready`, waits for `go`, attacks until `stop`, and prints what that has cost as one line of JSON.

mod calls;
mod connection;
mod counts;
mod floods;
mod frames;
mod headers;
mod idle;
mod ranges;
mod slow;
mod unread;

use std::{
    io::{self, BufRead, Write},
    net::SocketAddr,
    process,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;

use self::counts::Counts;
use crate::bench::proc;

/// What the attacker prints when it is prepared, and the lines that it then reads.
pub const READY: &str = "ready";
pub const GO: &str = "go";
pub const STOP: &str = "stop";

/// What the end of a connection begins with that was never open.
pub const NOT_CONNECTED: &str = "not connected";

/// An attack in progress.
struct Attack {
    grpc: SocketAddr,
    rest: SocketAddr,
    /// The issuer that the service trusts.
    issuer: String,
    /// Users of one tenant.
    tokens: Vec<String>,
    is_quick: bool,
    /// How many sessions the loop of creates and cancels ends.
    loops: usize,
    counts: Arc<Counts>,
    gate: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Attack {
    /// Reads the order that [`super::scene`] sends.
    fn read(order: &Value, gate: oneshot::Receiver<()>) -> anyhow::Result<Self> {
        let text = |name: &str| order[name].as_str().with_context(|| format!("the order has no {name}"));
        let tokens = order["tokens"].as_array().context("the order has no tokens")?;
        Ok(Self {
            grpc: text("grpc")?.parse()?,
            rest: text("rest")?.parse()?,
            issuer: text("issuer")?.to_owned(),
            tokens: tokens.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            is_quick: order["quick"] == true,
            loops: usize::try_from(order["loops"].as_u64().context("the order has no loops")?)?,
            counts: Arc::default(),
            gate: Mutex::new(Some(gate)),
        })
    }

    /// The small number in a quick run.
    fn count(&self, usual: usize, quick: usize) -> usize {
        if self.is_quick { quick } else { usual }
    }

    /// Reports that everything is prepared, and waits until the attack may begin.
    async fn begin(&self) -> anyhow::Result<()> {
        let gate = self.gate.lock().take().context("the attack has begun already")?;
        print_line(READY)?;
        gate.await.context("no attack is wanted any more")?;
        self.counts.begin(own_cpu_seconds()?);
        Ok(())
    }
}

/// Runs the attack that standard input orders.
pub async fn run() -> anyhow::Result<()> {
    print_upload::process::raise_descriptor_limit();
    let mut order = String::new();
    io::stdin().read_line(&mut order)?;
    let order: Value = serde_json::from_str(&order).context("the order")?;
    let (go, gate) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    thread::spawn(move || follow_input(go, stop));
    let attack = Arc::new(Attack::read(&order, gate)?);
    tokio::select! {
        ended = perform(order["act"].as_str().unwrap_or_default(), &attack) => ended?,
        _ = stopped => {}
    }
    print_line(&attack.counts.report(own_cpu_seconds()?).to_string())
}

async fn perform(act: &str, attack: &Arc<Attack>) -> anyhow::Result<()> {
    match act {
        "idle-connections-one-address" => idle::run(attack, 1).await,
        "idle-connections-many-addresses" => idle::run(attack, 40).await,
        "slow-preface" => slow::preface(attack).await,
        "slow-headers" => slow::headers(attack).await,
        "slow-body" => slow::body(attack).await,
        "slow-reader" => unread::downloads(attack).await,
        "zero-window" => unread::zero_window(attack).await,
        "one-byte-frames" => unread::one_byte_frames(attack).await,
        "rapid-reset" => floods::rapid_reset(attack).await,
        "settings-flood" => floods::settings(attack).await,
        "ping-flood" => floods::pings(attack).await,
        "header-bombs-large" => headers::large(attack).await,
        "header-bombs-continuation" => headers::continuation(attack).await,
        "header-bombs-hpack" => headers::hpack(attack).await,
        "unknown-keys" => calls::unknown_keys(attack).await,
        "health-watch" => calls::health_watch(attack).await,
        "reflection-streams" => calls::reflection_streams(attack).await,
        "half-sent-ranges" => ranges::half_sent(attack).await,
        "one-byte-fragments" => ranges::one_byte_fragments(attack).await,
        "create-cancel-loop" => ranges::create_and_cancel(attack).await,
        _ => bail!("there is no act {act}"),
    }
}

/// Opens the gate at `go`; stops at the next line, and when the input ends.
fn follow_input(go: oneshot::Sender<()>, stop: oneshot::Sender<()>) {
    let mut lines = io::stdin().lock().lines();
    if lines.next().is_some_and(|line| line.is_ok_and(|line| line == GO)) {
        let _ = go.send(());
        lines.next();
    }
    let _ = stop.send(());
}

fn own_cpu_seconds() -> anyhow::Result<f64> {
    proc::cpu_seconds(i32::try_from(process::id())?)
}

/// With a flush: standard output is a pipe.
fn print_line(line: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}

/// Waits for ever: the attacker holds what it has.
async fn hold() {
    std::future::pending::<()>().await;
}

/// Sleeps a part of a second that spreads what many connections do.
async fn ramp(number: usize) {
    tokio::time::sleep(Duration::from_micros(500) * u32::try_from(number).unwrap_or_default()).await;
}

/// The seconds since a moment.
fn seconds_since(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64()
}
