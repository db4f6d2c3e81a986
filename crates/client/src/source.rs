//! The bytes to upload: a file, or bytes in memory.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io,
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::Error;

/// The largest document that any service can be configured to accept, in bytes.
const MAX_BYTES: u64 = 1 << 40;

/// How much of a file is read at once if only its checksum is needed, in bytes.
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
    /// What was read so far. Never locked across an await.
    seen: Mutex<Seen>,
}

/// What was read of a file: no byte is read again for the checksum of the whole, and if the file's times have changed,
/// its bytes are compared.
#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    /// Each range that was read, with its CRC32C.
    ranges: Vec<(Range<u64>, u32)>,
}

/// A file's size, and the times of its last change: of its content, and of anything. Nobody can set the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
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
        Self::open(File::open(path).map_err(|error| wrong(&error.to_string()))?, name)
    }

    /// An open file, under this name in messages: not empty, and not larger than any service allows.
    pub fn open(file: File, name: String) -> Result<Self, Error> {
        let wrong = |problem: &str| Error::File { file: name.clone(), problem: problem.into() };
        let metadata = file.metadata().map_err(|error| wrong(&error.to_string()))?;
        if metadata.len() == 0 {
            return Err(wrong("is empty: a document has at least one byte"));
        }
        if metadata.len() > MAX_BYTES {
            return Err(wrong(&format!("has {} bytes: a document has at most {MAX_BYTES}", metadata.len())));
        }
        let seen = Mutex::new(Seen { stamp: Stamp::of(&metadata), ranges: Vec::new() });
        Ok(Self(Inner::File(Arc::new(OpenFile { file, len: metadata.len(), seen, name }))))
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

    /// The bytes of a range, and their CRC32C. Fails when bytes that were read before have changed.
    pub(super) async fn read(&self, range: Range<u64>) -> Result<(Bytes, u32), Error> {
        match &self.0 {
            Inner::Bytes(bytes) => {
                let bytes = bytes.slice(range.start as usize..range.end as usize);
                let crc = crc32c::crc32c(&bytes);
                Ok((bytes, crc))
            }
            Inner::File(file) => {
                let file = Arc::clone(file);
                spawn_blocking(move || file.read(range)).await.map_err(|error| Error::Internal(error.to_string()))?
            }
        }
    }

    /// The CRC32C of all bytes. Reads only what was not read before. Dropping the future stops the computation.
    pub async fn crc32c(&self) -> Result<u32, Error> {
        let read = match &self.0 {
            Inner::Bytes(_) => BTreeMap::new(),
            Inner::File(file) => file.longest_reads(),
        };
        let (mut crc, mut start) = (0, 0);
        while start < self.size_bytes() {
            let (end, crc_of_part) = match read.get(&start) {
                Some(&part) => part,
                None => {
                    let next = read.range(start..).next().map_or(self.size_bytes(), |(&next, _)| next);
                    let end = next.min(start + DIGEST_BYTES);
                    (end, self.read(start..end).await?.1)
                }
            };
            crc = crc32c::crc32c_combine(crc, crc_of_part, (end - start) as usize);
            start = end;
        }
        if let Inner::File(file) = &self.0 {
            let file = Arc::clone(file);
            let check = move || file.check_unchanged(&mut file.lock_seen());
            spawn_blocking(check).await.map_err(|error| Error::Internal(error.to_string()))??;
        }
        Ok(crc)
    }

    /// Reads ranges of which only the checksum is needed.
    pub(super) async fn read_ahead(&self, ranges: impl IntoIterator<Item = Range<u64>>) -> Result<(), Error> {
        if matches!(self.0, Inner::Bytes(_)) {
            return Ok(());
        }
        for Range { mut start, end } in ranges {
            while start < end {
                let next = end.min(start + DIGEST_BYTES);
                self.read(start..next).await?;
                start = next;
            }
        }
        Ok(())
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
    fn read(&self, range: Range<u64>) -> Result<(Bytes, u32), Error> {
        let bytes = self.read_unchecked(&range)?;
        let crc = crc32c::crc32c(&bytes);
        let mut seen = self.lock_seen();
        seen.ranges.push((range, crc));
        self.check_unchanged(&mut seen)?;
        Ok((bytes.into(), crc))
    }

    fn lock_seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The longest range that was read from each start: its end and its CRC32C.
    fn longest_reads(&self) -> BTreeMap<u64, (u64, u32)> {
        let mut longest = BTreeMap::new();
        for (range, crc) in &self.lock_seen().ranges {
            let read = longest.entry(range.start).or_insert((range.end, *crc));
            if read.0 < range.end {
                *read = (range.end, *crc);
            }
        }
        longest
    }

    fn read_unchecked(&self, range: &Range<u64>) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        match self.file.read_exact_at(&mut bytes, range.start) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.changed()),
            read => read.map(|()| bytes).map_err(|error| self.failed(&error)),
        }
    }

    /// Fails if bytes that were read have changed. Somebody may only have touched the file: the bytes decide.
    fn check_unchanged(&self, seen: &mut Seen) -> Result<(), Error> {
        let mut stamp = self.stamp()?;
        while stamp != seen.stamp {
            self.read_again(seen)?;
            seen.stamp = stamp;
            stamp = self.stamp()?;
        }
        Ok(())
    }

    /// Reads every range once more that was read before.
    fn read_again(&self, seen: &Seen) -> Result<(), Error> {
        for (range, crc) in &seen.ranges {
            if crc32c::crc32c(&self.read_unchecked(range)?) != *crc {
                return Err(self.changed());
            }
        }
        Ok(())
    }

    fn stamp(&self) -> Result<Stamp, Error> {
        let stamp = Stamp::of(&self.file.metadata().map_err(|error| self.failed(&error))?);
        if stamp.len == self.len { Ok(stamp) } else { Err(self.changed()) }
    }

    fn changed(&self) -> Error {
        Error::Changed { file: self.name.clone() }
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::File { file: self.name.clone(), problem: error.to_string() }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt, time::SystemTime};

    use super::*;

    #[tokio::test]
    async fn the_bytes_of_a_file_decide_whether_it_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, b"0123456789").expect("a file");
        let source = Source::file(&path).expect("a source");
        source.read(0..4).await.expect("bytes");

        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("chmod");
        source.read(4..6).await.expect("other permissions");
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
            .expect("touch");
        source.read(4..6).await.expect("another time");
        File::options().write(true).open(&path).and_then(|file| file.write_all_at(b"0123", 0)).expect("written");
        source.read(0..2).await.expect("the same bytes");
        File::options().write(true).open(&path).and_then(|file| file.write_all_at(b"x", 9)).expect("written");
        let (bytes, crc) = source.read(6..10).await.expect("bytes that nobody has read");
        assert_eq!((&bytes[..], crc), (&b"678x"[..], crc32c::crc32c(b"678x")));

        File::options().write(true).open(&path).and_then(|file| file.write_all_at(b"x", 3)).expect("written");
        let error = source.read(4..6).await.expect_err("a byte that was read is another one");
        assert!(matches!(error, Error::Changed { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn the_checksum_of_all_bytes_is_that_of_what_was_read_and_of_the_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..3_000_000).map(|at: u32| (at % 251) as u8).collect();
        fs::write(&path, &content).expect("a file");
        let expected = crc32c::crc32c(&content);
        let reads: [&[Range<u64>]; 4] = [
            &[],
            &[0..3_000_000, 0..1],
            &[5..7, 5..2_000_000, 0..5, 6..9],
            &[0..1000, 500..2000, 2_999_999..3_000_000, 10..20],
        ];
        for ranges in reads {
            let source = Source::file(&path).expect("a source");
            for range in ranges {
                source.read(range.clone()).await.expect("bytes");
            }
            assert_eq!(source.crc32c().await.expect("a checksum"), expected, "{ranges:?}");
            source.read_ahead(ranges.iter().cloned()).await.expect("bytes");
            assert_eq!(source.crc32c().await.expect("a checksum"), expected, "{ranges:?}");
        }
        assert_eq!(Source::bytes(content).crc32c().await.expect("a checksum"), expected);
    }

    #[tokio::test]
    async fn bytes_that_were_read_are_not_read_again_for_the_checksum_unless_the_file_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, b"0123456789").expect("a file");
        let source = Source::file(&path).expect("a source");
        source.read(0..10).await.expect("bytes");
        let Inner::File(file) = &source.0 else { unreachable!("it is a file") };
        source.crc32c().await.expect("a checksum");
        assert_eq!(file.lock_seen().ranges.len(), 1);

        File::options().write(true).open(&path).and_then(|file| file.write_all_at(b"x", 3)).expect("written");
        assert!(matches!(source.crc32c().await, Err(Error::Changed { .. })));
    }

    #[tokio::test]
    async fn a_file_that_grows_or_shrinks_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        for len in [9, 11] {
            let path = folder.path().join("file");
            fs::write(&path, b"0123456789").expect("a file");
            let source = Source::file(&path).expect("a source");
            File::options().write(true).open(&path).and_then(|file| file.set_len(len)).expect("resized");
            assert!(matches!(source.read(0..2).await, Err(Error::Changed { .. })), "{len}");
        }
    }
}
