//! `print-upload-dev soak`: mixed load for an hour, and whether anything grows.

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use clap::Args;
use print_upload::process::until_shutdown;

use super::shipped_program;
use crate::soak::{self, Options, Terms};

/// The options of the run.
#[derive(Debug, Args)]
pub(super) struct Soak {
    /// How long the load lasts. Less than 20 minutes are too short to judge whether rows become more.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,

    /// The program that serves [default: print-upload beside this program].
    #[arg(long)]
    program: Option<PathBuf>,

    /// Folder for the plots in images/, which are overwritten, and for reliability.md, whose section is replaced.
    #[arg(long, default_value = "docs")]
    output: PathBuf,

    /// File for the samples, which is overwritten. It is complete up to the last sample whenever the run ends.
    #[arg(long, default_value = "target/soak.csv")]
    csv: PathBuf,

    /// Run nothing: write the plots and the section from the file of an earlier run.
    #[arg(long)]
    from_csv: bool,

    /// The seed of the load [default: a random one].
    #[arg(long)]
    seed: Option<u64>,

    /// A run of seconds, which shows that everything works. Nothing is judged.
    #[arg(long, conflicts_with = "minutes")]
    quick: bool,
}

impl Soak {
    /// Runs to its end, or until SIGINT or SIGTERM. Then it writes what it has.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if self.from_csv {
            return soak::write_again(&self.csv, &self.output);
        }
        ensure!(std::env::var_os("RUST_LOG").is_none(), "RUST_LOG is set: the service is measured with its usual log");
        let interrupted = until_shutdown();
        let lasts = Duration::from_secs(60 * u64::from(self.minutes));
        let options = Options {
            program: shipped_program(self.program)?,
            terms: if self.quick { Terms::quick() } else { Terms::of(lasts) },
            output: self.output,
            csv: self.csv,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..1 << 32)),
        };
        println!("seed {}", options.seed);
        soak::run(&options, interrupted).await
    }
}
