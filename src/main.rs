//! The program: one command line, see `print-upload --help`.

use std::process::ExitCode;

use clap::Parser;
use print_upload::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("print-upload: {error:#}");
            ExitCode::FAILURE
        }
    }
}
