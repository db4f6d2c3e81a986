//! The program: one command line, see `print-upload --help`.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use print_upload::{cli::Cli, telemetry};
use tokio::runtime::Runtime;

/// How long what blocks a thread may hold up the program's end: nobody may ever read from a pipe that it writes to.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        let ran = runtime.block_on(cli.run());
        runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        let (ended, logs) = ran?;
        logs.flush();
        ended
    });
    ended.unwrap_or_else(|error| {
        telemetry::write_in_time(move || drop(writeln!(io::stderr(), "print-upload: {error:#}")));
        ExitCode::FAILURE
    })
}
