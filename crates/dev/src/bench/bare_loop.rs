//! The limit of an upload that is durable range by range: write a file, fsync it, rename it, fsync its folder.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

/// Writes files of the same bytes into a new folder, one after the other.
pub fn write_synced(folder: &Path, bytes: &[u8], count: usize) -> anyhow::Result<()> {
    fs::create_dir(folder)?;
    let directory = File::open(folder)?;
    for number in 0..count {
        let staged = folder.join(format!("{number}#1"));
        let mut file = File::create(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&staged, folder.join(number.to_string()))?;
        directory.sync_all()?;
    }
    Ok(())
}
