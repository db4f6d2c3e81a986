//! `print-upload man`: the manual, one page for each command.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use super::Cli;

/// Where to write the manual.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Folder to write all pages to: print-upload.1, print-upload-upload.1 and so on. Without it, the first page is
    /// printed on standard output.
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Man {
    /// Writes the manual.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        if let Some(folder) = &self.out {
            let describe = || format!("--out {}", folder.display());
            fs::create_dir_all(folder).with_context(describe)?;
            return clap_mangen::generate_to(Cli::command(), folder).with_context(describe);
        }
        let mut page = Vec::new();
        Page::new(Cli::command()).render(&mut page)?;
        Ok(io::stdout().write_all(&page)?)
    }
}
