//! The program for development: see `print-upload-dev --help`.

use std::process::ExitCode;

use clap::Parser;
use print_upload::process;
use print_upload_dev::cli::Cli;

fn main() -> ExitCode {
    process::run("print-upload-dev", Cli::parse().run())
}
