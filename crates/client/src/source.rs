//! The bytes to upload: a file, or bytes in memory.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::Error;

/// The largest document that any service can be configured to accept, in bytes.
const MAX_BYTES: u64 = 1 << 40;

/// How much of a file is read at once to compute its digest, in bytes.
const DIGEST_BYTES: u64 = 1024 * 1024;

/// The bytes to upload. A file is opened once and stays open: if another file gets its name, that one is not read.
#[derive(Debug, Clone)]
pub struct Source(Inner);

#[derive(Debug, Clone)]
enum Inner {
    Bytes(Bytes),
    File(Arc<OpenFile>),
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    name: String,
    len: u64,
    modified: SystemTime,
}

impl Source {
    /// A file that can be uploaded: regular, not empty, and not larger than any service allows.
    pub fn file(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let wrong = |problem: &str| Error::File { file: name.clone(), problem: problem.into() };
        let metadata = fs::metadata(path).map_err(|error| wrong(&error.to_string()))?;
        // Before the file is opened: opening a pipe would wait for its writer.
        if metadata.is_dir() {
            return Err(wrong("is a folder"));
        }
        if !metadata.is_file() {
            return Err(wrong("is no regular file"));
        }
        let file = File::open(path).map_err(|error| wrong(&error.to_string()))?;
        let metadata = file.metadata().map_err(|error| wrong(&error.to_string()))?;
        if metadata.len() == 0 {
            return Err(wrong("is empty: a document has at least one byte"));
        }
        if metadata.len() > MAX_BYTES {
            return Err(wrong(&format!("has {} bytes: a document has at most {MAX_BYTES}", metadata.len())));
        }
        let modified = metadata.modified().map_err(|error| wrong(&error.to_string()))?;
        Ok(Self(Inner::File(Arc::new(OpenFile { file, len: metadata.len(), modified, name }))))
    }

    /// Bytes in memory.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Bytes(bytes.into()))
    }

    /// The size in bytes.
    pub fn size_bytes(&self) -> u64 {
        match &self.0 {
            Inner::Bytes(bytes) => bytes.len() as u64,
            Inner::File(file) => file.len,
        }
    }

    /// The bytes of a range. Fails when the file has changed.
    pub(super) async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        match &self.0 {
            Inner::Bytes(bytes) => Ok(bytes.slice(range.start as usize..range.end as usize)),
            Inner::File(file) => {
                let file = Arc::clone(file);
                spawn_blocking(move || file.read(range)).await.map_err(|error| Error::Internal(error.to_string()))?
            }
        }
    }

    /// The CRC32C of all bytes. Dropping the future stops the computation.
    pub async fn crc32c(&self) -> Result<u32, Error> {
        let (mut crc, mut start) = (0, 0);
        while start < self.size_bytes() {
            let end = self.size_bytes().min(start + DIGEST_BYTES);
            crc = crc32c::crc32c_append(crc, &self.read(start..end).await?);
            start = end;
        }
        Ok(crc)
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> &str {
        match &self.0 {
            Inner::Bytes(_) => "the source",
            Inner::File(file) => &file.name,
        }
    }
}

impl OpenFile {
    fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        match self.file.read_exact_at(&mut bytes, range.start) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.changed()),
            read => read.map_err(|error| self.failed(&error))?,
        }
        self.check_unchanged()?;
        Ok(bytes.into())
    }

    fn check_unchanged(&self) -> Result<(), Error> {
        let metadata = self.file.metadata().map_err(|error| self.failed(&error))?;
        let is_same = metadata.len() == self.len && metadata.modified().is_ok_and(|modified| modified == self.modified);
        if is_same { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> Error {
        Error::Changed { file: self.name.clone() }
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::File { file: self.name.clone(), problem: error.to_string() }
    }
}
