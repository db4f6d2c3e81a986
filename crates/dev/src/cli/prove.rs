//! `print-upload-dev prove`: histories of a whole system under faults, accepted by a checker.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::bail;
use clap::Args;

use super::{shipped_program, until_stopped};
use crate::prove::{self, Options};

/// The options of the proof.
#[derive(Debug, Args)]
pub(super) struct Prove {
    /// How many histories to record and check. A history is everything that happens to one document.
    #[arg(long, default_value_t = 100)]
    histories: usize,

    /// How many histories run at once, under the same faults.
    #[arg(long, default_value_t = 12)]
    parallel: usize,

    /// How many steps each client of a history makes.
    #[arg(long, default_value_t = 8)]
    steps: usize,

    /// The seed of the first round; each further round has the next number [default: a random one].
    #[arg(long)]
    seed: Option<u64>,

    /// Run one history of the first round alone.
    #[arg(long)]
    only: Option<usize>,

    /// Inject no faults: only races between calls.
    #[arg(long)]
    no_faults: bool,

    /// How often each smaller variant of a failed round is run again.
    #[arg(long, default_value_t = 3)]
    shrink_tries: usize,

    /// Run this many races between a cancel and the writers of its session, instead of histories.
    #[arg(long, conflicts_with_all = ["histories", "parallel", "steps", "only", "no_faults"])]
    races: Option<usize>,

    /// The program that serves [default: print-upload beside this program].
    #[arg(long)]
    program: Option<PathBuf>,
}

impl Prove {
    /// Runs to its end, or until SIGINT or SIGTERM. Then everything that it has started is stopped.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        until_stopped(self.prove()).await
    }

    async fn prove(self) -> anyhow::Result<()> {
        let program = shipped_program(self.program)?;
        if let Some(races) = self.races {
            return race(&program, races, self.seed.unwrap_or_else(random_seed)).await;
        }
        let options = Options {
            program,
            histories: self.histories,
            parallel: self.parallel.max(1),
            steps: self.steps,
            seed: self.seed.unwrap_or_else(random_seed),
            only: self.only,
            has_faults: !self.no_faults,
            shrink_tries: self.shrink_tries,
        };
        let flags = replay_flags(&options);
        println!("print-upload-dev prove {flags}");
        let begun = Instant::now();
        let report = prove::run(&options).await?;
        let prove::Report { histories, calls, unknown, undecided, violations } = &report;
        let seconds = begun.elapsed().as_secs();
        println!("{histories} histories, {calls} calls, {unknown} with an unknown outcome, {seconds} s");
        if *undecided > 0 {
            println!("{undecided} histories are undecided: the search for an explanation was given up");
        }
        if violations.is_empty() {
            println!("no violation");
            return Ok(());
        }
        for violation in violations {
            println!("\nVIOLATION: {violation}");
        }
        bail!("{} violations; to run it again: print-upload-dev prove {flags}", violations.len())
    }
}

async fn race(program: &Path, races: usize, seed: u64) -> anyhow::Result<()> {
    println!("print-upload-dev prove --races {races} --seed {seed}");
    let begun = Instant::now();
    let report = prove::race(program, races, seed).await?;
    let prove::RaceReport { races, acknowledged, read_after, read_late, latest, violations, files_left } = report;
    println!("{races} races, {acknowledged} acknowledged ranges, {} s", begun.elapsed().as_secs());
    println!(
        "{violations} sent after the answer to the cancel and acknowledged, {read_after} acknowledgements read after it \
         ({read_late} of them more than 50 ms after, the latest {latest:?}), {files_left} sessions with bytes left"
    );
    if violations + files_left > 0 {
        bail!("the cancel is not final");
    }
    Ok(())
}

fn random_seed() -> u64 {
    fastrand::u64(..1 << 32)
}

fn replay_flags(options: &Options) -> String {
    let Options { histories, parallel, steps, seed, only, has_faults, .. } = options;
    let only = only.map(|only| format!(" --only {only}")).unwrap_or_default();
    let faults = if *has_faults { "" } else { " --no-faults" };
    format!("--histories {histories} --parallel {parallel} --steps {steps} --seed {seed}{only}{faults}")
}
