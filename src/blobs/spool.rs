//! The bytes of a fragment until all have arrived, in a file without a name. The system removes it when the process
//! ends.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    path::PathBuf,
};

use bytes::Bytes;
use tokio::task::spawn_blocking;

/// The file, and its length in bytes.
#[derive(Debug)]
pub struct Spool {
    file: File,
    length: usize,
}

impl Spool {
    /// Opens an empty spool in a folder.
    pub async fn open(folder: PathBuf) -> io::Result<Self> {
        blocking(move || Ok(Self { file: tempfile::tempfile_in(folder)?, length: 0 })).await
    }

    /// Appends bytes. Returns once they are written.
    pub async fn append(&mut self, bytes: Bytes) -> io::Result<()> {
        let mut file = self.file.try_clone()?;
        let length = bytes.len();
        blocking(move || file.write_all(&bytes)).await?;
        crash_point!("fragment.spooled");
        self.length += length;
        Ok(())
    }

    /// All bytes that were appended.
    pub async fn read(&self) -> io::Result<Vec<u8>> {
        let mut file = self.file.try_clone()?;
        let mut bytes = vec![0; self.length];
        blocking(move || {
            file.rewind()?;
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
