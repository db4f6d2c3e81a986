//! The bytes of a fragment until all have arrived, in a file without a name. The system removes it when the process
//! ends.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    path::PathBuf,
    sync::Arc,
};

use object_store::PutPayload;
use tokio::task::spawn_blocking;

/// The file, and its length in bytes.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    length: usize,
}

impl Spool {
    /// Opens an empty spool in a folder.
    pub async fn open(folder: PathBuf) -> io::Result<Self> {
        blocking(move || Ok(Self { file: Arc::new(tempfile::tempfile_in(folder)?), length: 0 })).await
    }

    /// Appends bytes. The write begins when the returned future is polled. There must be no other one.
    pub fn append(&mut self, bytes: PutPayload) -> impl Future<Output = io::Result<()>> + Send + use<> {
        self.length += bytes.content_length();
        let file = Arc::clone(&self.file);
        async move {
            blocking(move || bytes.iter().try_for_each(|buffer| (&*file).write_all(buffer))).await?;
            crash_point!("fragment.spooled");
            Ok(())
        }
    }

    /// All bytes that were appended.
    pub fn read(&self) -> impl Future<Output = io::Result<Vec<u8>>> + Send + use<> {
        let (file, length) = (Arc::clone(&self.file), self.length);
        blocking(move || {
            let (mut file, mut bytes) = (&*file, vec![0; length]);
            file.rewind()?;
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
