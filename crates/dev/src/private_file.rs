//! Files that only their owner may read.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, anyhow};

/// Only the owner may read and write.
const MODE: u32 = 0o600;

/// The secret in a file. Creates it when there is none. The file gets its name only when it is complete.
pub fn load_or_create(path: &Path, create: impl FnOnce() -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return read.with_context(|| path.display().to_string()),
    }
    let secret = create()?;
    write(path, &secret)?;
    Ok(secret)
}

/// A random secret of 256 bits, as 64 hexadecimal digits.
pub fn random_secret() -> anyhow::Result<Vec<u8>> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("no random numbers for a secret"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes())
}

/// Opens a file of mode 0600 to read it and to append to it. Creates it when there is none.
pub fn open(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(MODE);
    options.open(path).with_context(|| format!("opening {}", path.display()))
}

/// Writes a file of mode 0600. Replaces an older one.
pub fn write(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let write = || {
        // What an earlier attempt has left may have another mode.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&unfinished)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().with_context(|| path.display().to_string())
}
