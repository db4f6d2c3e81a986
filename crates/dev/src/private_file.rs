//! Files that only their owner may read.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, anyhow};

/// The secret in a file, which is made when there is none. A half-written one never gets the name.
pub fn load_or_create(path: &Path, create: impl FnOnce() -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return read.with_context(|| path.display().to_string()),
    }
    let secret = create()?;
    write(path, &secret)?;
    Ok(secret)
}

/// A secret that nobody can guess: 64 hexadecimal digits.
pub fn random_secret() -> anyhow::Result<Vec<u8>> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("no random numbers for a secret"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes())
}

/// Writes a file of mode 0600, in place of an older one.
pub fn write(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let write = || {
        // A left-over of an earlier attempt may have another mode.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().with_context(|| path.display().to_string())
}
