//! `print-upload completions`: what a shell needs to complete the command line.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// For which shell.
#[derive(Debug, Args)]
#[command(
    after_long_help = "For example: print-upload completions bash > ~/.local/share/bash-completion/completions/print-upload"
)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        // Into memory first: it would panic where nobody reads to the end.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "print-upload", &mut script);
        Ok(io::stdout().write_all(&script)?)
    }
}
