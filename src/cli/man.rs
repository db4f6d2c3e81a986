//! `print-upload man`: the manual, a page a command.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use super::Cli;

/// Where the manual goes.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Folder to write all pages to, print-upload.1, print-upload-upload.1 and so on [default: the first page, on standard
    /// output].
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Man {
    /// Writes the manual.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        if let Some(folder) = &self.out {
            let shown = || format!("--out {}", folder.display());
            fs::create_dir_all(folder).with_context(shown)?;
            return clap_mangen::generate_to(Cli::command(), folder).with_context(shown);
        }
        let mut page = Vec::new();
        Page::new(Cli::command()).render(&mut page)?;
        Ok(io::stdout().write_all(&page)?)
    }
}
