//! The `print-upload` program. See `print-upload --help`.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use print_upload::{cli::Cli, process};

/// Gives memory back to the system soon after the ranges that used it have ended. The system's allocator keeps most of
/// it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    process::run("print-upload", Cli::parse().run())
}
