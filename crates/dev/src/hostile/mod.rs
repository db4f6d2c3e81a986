//! Hostile acts against the shipped program, and what they cost: the attacker, the service, and the others who use it
//! meanwhile. The attacker is a niced process of its own, and so are the service and Postgres; all are on this machine.

pub mod attacker;
mod others;
mod scene;
mod service;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail, ensure};
use tokio::time::timeout;

use self::{
    scene::{Outcome, Scene},
    table::Row,
};
use crate::bench::{self, system::System};

/// What to do, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program that serves.
    pub program: PathBuf,
    /// Only these acts, by their names or by the first words of them; all if it is empty.
    pub only: Vec<String>,
    /// How long an act lasts, unless it has an end of its own.
    pub duration: Duration,
    /// How long all of them may take: an act that would begin later fails.
    pub total: Duration,
    /// How many sessions the loop of creates and cancels ends.
    pub loops: usize,
    /// Small counts, to see whether everything works. The values mean nothing, and no bound of a latency is checked.
    pub is_quick: bool,
    /// The folder of `reliability.md`.
    pub output: PathBuf,
}

impl Options {
    /// How long an act may take with everything that is measured before and after it.
    fn limit(&self, act: Act) -> Duration {
        match act {
            _ if self.is_quick => Duration::from_secs(60),
            Act { has_end: true, .. } => Duration::from_secs(6 * 60),
            _ => self.duration + Duration::from_secs(2 * 60),
        }
    }
}

/// A hostile act.
#[derive(Debug, Clone, Copy)]
pub struct Act {
    pub name: &'static str,
    /// What the attacker does.
    pub what: &'static str,
    /// What the attacker repeats.
    pub unit: &'static str,
    /// Whether it lasts until the attacker has done everything, not for a fixed time.
    pub has_end: bool,
}

const fn act(name: &'static str, what: &'static str, unit: &'static str) -> Act {
    Act { name, what, unit, has_end: false }
}

const fn act_with_end(name: &'static str, what: &'static str, unit: &'static str) -> Act {
    Act { name, what, unit, has_end: true }
}

/// All acts, in the order of the table.
pub const ACTS: [Act; 20] = [
    act("idle-connections-one-address", "10,000 idle connections over HTTP/2 from one address", "calls"),
    act("idle-connections-many-addresses", "10,000 idle connections over HTTP/2 from 40 addresses", "calls"),
    act("slow-preface", "1,000 connections send the preface of HTTP/2 by a byte a second", "bytes"),
    act(
        "slow-headers",
        "1,000 connections send headers by a byte a second, half over HTTP/1.1, half over HTTP/2",
        "bytes",
    ),
    act(
        "slow-body",
        "1,500 authorized calls send their bodies by a byte a second, 500 over REST, the others over gRPC",
        "bytes",
    ),
    act("slow-reader", "400 connections download 64 MiB over REST and read nothing", "requests"),
    act("zero-window", "50 connections over HTTP/2 make open and authorized calls whose answers have no room", "calls"),
    act(
        "one-byte-frames",
        "8 connections send DATA frames of one byte to reflection streams that are not read",
        "frames",
    ),
    act("rapid-reset", "4 connections make calls and reset them at once", "calls"),
    act("settings-flood", "4 connections send SETTINGS frames", "frames"),
    act("ping-flood", "4 connections send PING frames", "frames"),
    act("header-bombs-large", "8 connections make calls with 60 KB of headers", "calls"),
    act("header-bombs-continuation", "8 connections send CONTINUATION frames without an end", "frames"),
    act("header-bombs-hpack", "8 connections send 16 KB of headers that would be 64 MB when decoded", "calls"),
    act("unknown-keys", "1,000 tokens a second, each with another unknown key id", "calls"),
    act("health-watch", "2,000 health Watch streams on 500 connections", "calls"),
    act("reflection-streams", "1,000 reflection streams on 250 connections", "calls"),
    act("half-sent-ranges", "four users of one tenant send the first halves of 600 ranges", "ranges"),
    act_with_end("one-byte-fragments", "one user sends 10,000 ranges of one byte that do not touch", "ranges"),
    act_with_end("create-cancel-loop", "one user creates sessions and cancels them: 100,000", "cancels"),
];

/// Runs the acts, prints each, and writes the table. Returns the names of the acts during which a bound did not hold. An
/// act that fails does not stop the others.
pub async fn run(options: Options) -> anyhow::Result<Vec<&'static str>> {
    let acts = chosen(&options.only)?;
    let system = System::start(&options.program).await?;
    let mut setting = bench::machine(&options.program).await?;
    setting.push(("Postgres".into(), bench::postgres_version(&system).await?));
    setting.push(("Options of the service".into(), "the defaults, one replica".into()));
    if options.is_quick {
        setting.push(("Counts".into(), "tiny (`--quick`): the values mean nothing".into()));
    }
    fs::create_dir_all(&options.output).with_context(|| options.output.display().to_string())?;
    let output = page(&options.output);
    let mut failed = Vec::new();
    let started = Instant::now();
    for act in acts {
        eprintln!("{}: {}", act.name, act.what);
        let begun = Instant::now();
        let outcome = match started.elapsed() {
            elapsed if elapsed > options.total => Err(anyhow!("not tried: the run took {} s", elapsed.as_secs())),
            _ => play(&system, &options, act).await,
        };
        let row = Row { act, outcome: outcome.map_err(|error| format!("{error:#}")) };
        print!("{}", table::plain(&row, options.is_quick));
        eprintln!("  {} s", begun.elapsed().as_secs());
        if row.is_failure(options.is_quick) {
            failed.push(act.name);
        }
        table::write(&output, &setting, &row, options.is_quick)?;
    }
    system.stop().await?;
    Ok(failed)
}

async fn play(system: &System, options: &Options, act: Act) -> anyhow::Result<Outcome> {
    let limit = options.limit(act);
    let played = timeout(limit, Scene { system, options, act }.play()).await;
    played.unwrap_or_else(|_| bail!("it was not done after {} s", limit.as_secs()))
}

/// The page that has the table.
pub fn page(folder: &Path) -> PathBuf {
    folder.join("reliability.md")
}

fn chosen(only: &[String]) -> anyhow::Result<Vec<Act>> {
    let matches = |act: &Act, name: &String| act.name == name || act.name.starts_with(&format!("{name}-"));
    for name in only {
        ensure!(ACTS.iter().any(|act| matches(act, name)), "there is no act {name}");
    }
    let is_chosen = |act: &Act| only.is_empty() || only.iter().any(|name| matches(act, name));
    Ok(ACTS.into_iter().filter(is_chosen).collect())
}
