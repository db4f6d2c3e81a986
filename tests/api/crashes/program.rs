//! The program that ships, with crash points. `make crash-points` builds it.

use std::process::ExitCode;

use clap::Parser;
use print_upload::{cli::Cli, crash, process};

fn main() -> ExitCode {
    if let Err(error) = crash::arm() {
        eprintln!("print-upload: {error:#}");
        return ExitCode::FAILURE;
    }
    process::run("print-upload", Cli::parse().run())
}
