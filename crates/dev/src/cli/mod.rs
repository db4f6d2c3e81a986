//! The command line: parse, then call one function.

mod bench;
mod demo;
mod hostile;
mod issuer;
mod prove;
mod smoke;
mod soak;
mod story;
mod token;
mod up;
mod upgrade;
mod with_postgres;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Parser, Subcommand};
use nix::unistd::geteuid;
use print_upload::{
    process::shutdown_signal,
    telemetry::{self, Logs},
};
use tokio::time::sleep;

/// Run print-upload on this machine, try it out and test it. For development only: it mints tokens for any user.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    /// Log as JSON lines, not as text.
    #[arg(long, env = "LOG_JSON", global = true)]
    log_json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything that the service needs, and the service: Postgres, a token issuer, local files, a sample catalog.
    Up(up::Up),
    /// Cancel one upload, complete another one, and print every call. Uses scratch data and checks every result.
    Demo,
    /// Check a running service with uploads, deletes and downloads, over gRPC and REST.
    Smoke(smoke::Smoke),
    /// Prove that the service keeps its promises while everything around it fails: record histories, and check them.
    Prove(prove::Prove),
    /// Measure what calls, uploads and background work cost, against what Postgres and the disk allow. Writes
    /// benchmarks.md and plots. Build both programs with --release.
    Bench(bench::Bench),
    /// Try hostile acts against the program, and measure what they cost the attacker, the service and others. Writes the
    /// table of reliability.md. Build both programs with --release.
    Hostile(hostile::Hostile),
    /// The attacker of `hostile`: reads what to do from standard input.
    #[command(hide = true)]
    HostileAttacker,
    /// Run mixed load against two replicas for an hour, and check that nothing grows: memory, descriptors, tasks, rows,
    /// files. Writes plots and a section of reliability.md. Build both programs with --release.
    Soak(soak::Soak),
    /// Change two replicas from an older program to this one and back, under load. Uses scratch data and checks every
    /// answer.
    Upgrade(upgrade::Upgrade),
    /// Run the token issuer alone, over https.
    Issuer(issuer::Issuer),
    /// Print a new access token, signed by the token issuer of `up` or `issuer`.
    Token(token::Token),
    /// Run a command with a throw-away Postgres at DATABASE_URL. If DATABASE_URL is set already, only run the command.
    WithPostgres {
        /// The command and its arguments.
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
}

impl Cli {
    /// Runs the command. Returns its exit code or its error, and the log, to be flushed last.
    pub async fn run(self) -> anyhow::Result<(anyhow::Result<ExitCode>, Logs)> {
        let level = match self.command {
            Command::Bench(_)
            | Command::Demo
            | Command::Hostile(_)
            | Command::HostileAttacker
            | Command::Soak(_)
            | Command::Upgrade(_) => "warn",
            _ => "info",
        };
        let (logs, _) = telemetry::init(self.log_json, level, "print-upload-dev", None)?;
        Ok((self.command.run().await, logs))
    }
}

impl Command {
    async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Up(up) => up.run().await?,
            Self::Demo => demo::run().await?,
            Self::Smoke(smoke) => smoke.run().await?,
            Self::Prove(prove) => prove.run().await?,
            Self::Bench(bench) => bench.run().await?,
            Self::Hostile(hostile) => hostile.run().await?,
            Self::HostileAttacker => crate::hostile::attacker::run().await?,
            Self::Soak(soak) => soak.run().await?,
            Self::Upgrade(upgrade) => upgrade.run().await?,
            Self::Issuer(issuer) => issuer.run().await?,
            Self::Token(token) => token.run()?,
            Self::WithPostgres { command } => return with_postgres::run(command).await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The program that ships: the one that an option names, else the one beside this program.
fn shipped_program(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let beside = || anyhow::Ok(std::env::current_exe()?.with_file_name("print-upload"));
    let program = given.map_or_else(beside, Ok)?;
    anyhow::ensure!(program.exists(), "{} does not exist: cargo build --workspace --bins", program.display());
    Ok(program)
}

/// How long it takes at most to drop the tasks of a run that is interrupted.
const ABORT: Duration = Duration::from_secs(1);

/// Runs to the end, or until SIGINT or SIGTERM, which is an error. Then everything that it has started is stopped.
async fn until_stopped(run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let stopped = tokio::select! {
        done = run => return done,
        stopped = shutdown_signal() => stopped,
    };
    // The tasks that are aborted now have started processes, which end when the tasks are dropped.
    sleep(ABORT).await;
    stopped.and_then(|()| anyhow::bail!("stopped before the end"))
}

/// The folder for data unless `--data-dir` names one: `/var/lib/print-upload` for root, else below `$XDG_DATA_HOME`.
fn default_data_dir() -> anyhow::Result<PathBuf> {
    if geteuid().is_root() {
        return Ok("/var/lib/print-upload".into());
    }
    let data_home = std::env::var_os("XDG_DATA_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let below_home = || std::env::home_dir().map(|home| home.join(".local/share"));
    let data_home = data_home.or_else(below_home).context("there is no home folder: give --data-dir")?;
    Ok(data_home.join("print-upload"))
}
