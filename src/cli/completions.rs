//! `print-upload completions`: a script that completes the command line in a shell.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// The shell to complete for.
#[derive(Debug, Args)]
#[command(
    after_long_help = "For example:\n  print-upload completions bash > ~/.local/share/bash-completion/completions/print-upload"
)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        // Into memory first: clap_complete panics when the reader closes the pipe early.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "print-upload", &mut script);
        Ok(io::stdout().write_all(&script)?)
    }
}
