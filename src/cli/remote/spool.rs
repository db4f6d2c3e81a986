//! Documents from a pipe. Their size must be known before the upload begins, so a temporary file receives them first.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::FileTypeExt,
    path::Path,
};

use print_upload_client::Source;
use tokio::task::spawn_blocking;

use super::{Exit, Failure};

/// The name of a document from standard input, and of one whose path is only a number of an open file.
const NAMELESS: &str = "stdin";

/// The document in a file. A pipe, or standard input by the name `-`, is read to its end.
pub(super) async fn source(file: &Path) -> Result<Source, Failure> {
    if !is_stream(file) {
        return Ok(Source::file(file)?);
    }
    let path = file.to_owned();
    let spooled =
        spawn_blocking(
            move || {
                if is_stdin(&path) { spool(&mut io::stdin().lock()) } else { spool(&mut File::open(&path)?) }
            },
        );
    let spooled = spooled.await.map_err(io::Error::other).flatten();
    let describe = |error| Failure::new(Exit::Other, format!("{}: {error}", file.display()));
    Ok(Source::open(spooled.map_err(describe)?, file.display().to_string())?)
}

/// The document's name: the file's, where it has one.
pub(super) fn file_name(file: &Path) -> String {
    let is_number = file.starts_with("/dev/fd") || file.starts_with("/proc") || file == Path::new("/dev/stdin");
    let name = file.file_name().filter(|_| !is_stdin(file) && !is_number);
    name.map_or_else(|| NAMELESS.into(), |name| name.to_string_lossy().into_owned())
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn is_stream(file: &Path) -> bool {
    let is_pipe = |kind: fs::FileType| kind.is_fifo() || kind.is_socket();
    is_stdin(file) || fs::metadata(file).is_ok_and(|metadata| is_pipe(metadata.file_type()))
}

/// Copies everything into a file without a name, which the system removes when the program ends.
fn spool(from: &mut dyn Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(from, &mut file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_without_a_name_is_named_stdin() {
        for file in ["-", "/dev/stdin", "/dev/fd/63", "/proc/self/fd/0"] {
            assert_eq!(file_name(Path::new(file)), "stdin", "{file}");
        }
        for file in ["./-", "a/report.pdf", "/tmp/pipe"] {
            assert_eq!(file_name(Path::new(file)), file.rsplit('/').next().expect("a name"), "{file}");
        }
    }
}
