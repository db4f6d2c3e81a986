//! `print-upload-dev bench`: what calls, uploads and background work cost, against what Postgres and the disk allow.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap::Args;

use super::{shipped_program, until_stopped};
use crate::bench::{self, Options};

/// The options of the measurement.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// How often each side of a row is measured, alternating with the other.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// Measure only these rows, by their numbers. Repeat it, or separate several with commas.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=14))]
    only: Vec<u8>,

    /// Folder for benchmarks.md, and for the plots in images/. Both are overwritten.
    #[arg(long, default_value = "docs")]
    output: PathBuf,

    /// The program that serves [default: print-upload beside this program].
    #[arg(long)]
    program: Option<PathBuf>,

    /// Measure also with this object store, s3://bucket/prefix. Its settings come from the environment, as for `serve`.
    #[arg(long)]
    s3: Option<String>,

    /// rustus, to compare uploads with [default: rustus in PATH, if it is there].
    #[arg(long)]
    rustus: Option<PathBuf>,

    /// tusd, to compare uploads with [default: tusd in PATH, if it is there].
    #[arg(long)]
    tusd: Option<PathBuf>,

    /// Tiny counts: shows in a few minutes that everything works. The values mean nothing.
    #[arg(long)]
    quick: bool,
}

impl Bench {
    /// Runs to its end, or until SIGINT or SIGTERM. Then everything that it has started is stopped.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        until_stopped(self.measure()).await
    }

    async fn measure(self) -> anyhow::Result<()> {
        ensure!(std::env::var_os("RUST_LOG").is_none(), "RUST_LOG is set: the service is measured with its usual log");
        let options = Options {
            program: shipped_program(self.program)?,
            rounds: self.rounds.into(),
            only: self.only,
            is_quick: self.quick,
            s3: self.s3,
            rustus: self.rustus,
            tusd: self.tusd,
            output: self.output,
        };
        let output = options.output.join("benchmarks.md");
        let report = bench::run(options).await?;
        println!("written to {}", output.display());
        if report.has_failures() {
            bail!("some rows could not be measured");
        }
        Ok(())
    }
}
