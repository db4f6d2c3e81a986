//! The `print-upload` program. See `print-upload --help`.

use std::process::ExitCode;

use clap::Parser;
use print_upload::{cli::Cli, process};

fn main() -> ExitCode {
    process::run("print-upload", Cli::parse().run())
}
