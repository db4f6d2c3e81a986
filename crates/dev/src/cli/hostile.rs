//! `print-upload-dev hostile`: hostile acts against a running service, and what they cost.

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use clap::Args;

use super::{shipped_program, until_stopped};
use crate::hostile::{self, Options};

/// How long an act of a quick run lasts, and how many sessions its loop ends.
const QUICK: Duration = Duration::from_millis(500);
const QUICK_LOOPS: usize = 50;

/// The options of the acts.
#[derive(Debug, Args)]
pub(super) struct Hostile {
    /// Only these acts, by their names or by the first words of them. Repeat it, or separate several with commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,

    /// How many seconds an act lasts. one-byte-fragments and create-cancel-loop last until they are done.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// How many minutes all acts may take. Those that would begin later are reported as failed.
    #[arg(long, default_value_t = 15)]
    minutes: u64,

    /// How many sessions create-cancel-loop ends.
    #[arg(long, default_value_t = 100_000)]
    loops: usize,

    /// Folder of reliability.md. The rows of its table of hostile acts are replaced; a missing page is created.
    #[arg(long, default_value = "docs")]
    output: PathBuf,

    /// The program that serves [default: print-upload beside this program].
    #[arg(long)]
    program: Option<PathBuf>,

    /// Tiny counts: shows that everything works. The values mean nothing, and no latency is judged.
    #[arg(long, conflicts_with_all = ["seconds", "loops"])]
    quick: bool,
}

impl Hostile {
    /// Runs to its end, or until SIGINT or SIGTERM. Then everything that it has started is stopped.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        until_stopped(self.measure()).await
    }

    async fn measure(self) -> anyhow::Result<()> {
        ensure!(std::env::var_os("RUST_LOG").is_none(), "RUST_LOG is set: the service is measured with its usual log");
        let options = Options {
            program: shipped_program(self.program)?,
            only: self.only,
            duration: if self.quick { QUICK } else { Duration::from_secs(self.seconds) },
            total: Duration::from_secs(60 * self.minutes),
            loops: if self.quick { QUICK_LOOPS } else { self.loops },
            is_quick: self.quick,
            output: self.output,
        };
        let page = hostile::page(&options.output);
        let failed = hostile::run(options).await?;
        println!("written to {}", page.display());
        ensure!(failed.is_empty(), "failed, or a bound does not hold: {}", failed.join(", "));
        Ok(())
    }
}
