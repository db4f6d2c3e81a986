//! The `print-upload` program. See `print-upload --help`.

use std::process::ExitCode;

use clap::Parser;
use print_upload::{cli::Cli, process};
use tikv_jemallocator::Jemalloc;

/// Gives memory back to the system some seconds after the ranges that used it have ended. The system's allocator keeps
/// most of it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    process::run("print-upload", Cli::parse().run())
}
