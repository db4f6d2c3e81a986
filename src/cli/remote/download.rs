//! `print-upload download`: writes a document to a file, complete or not at all.

use std::{
    fs::{self, Permissions},
    io,
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use print_upload_client::{Client, Progress};
use tempfile::{Builder, NamedTempFile};
use tokio::{fs::File, sync::watch};

use super::{
    Caller, EXIT_CODES, Exit, Failure, Remote, RetryOptions, interrupt::Signals, output, progress::ProgressPrinter,
    target::document_name,
};
use crate::{
    proto::{PrintDocument, print_document::State},
    text::is_invisible,
};

/// Which document to download, and where to write it.
#[derive(Debug, Args)]
#[command(after_long_help = format!("The file gets its name only when it is complete and has the document's CRC32C.\n\n\
    With --json: {{\"file\": \"…\", \"document\": {{…}}}}. \
    The document is a PrintDocument of the proto in JSON.\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Download {
    /// The document: printers/{printer}/jobs/{job}/documents/{document}, or the same with shares/{share}.
    document: String,

    /// File to write, - for standard output [default: the document's name, in the current folder].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Overwrite the file if it exists.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    retry: RetryOptions,

    #[command(flatten)]
    remote: Remote,
}

impl Download {
    /// Downloads the document.
    pub(in crate::cli) async fn run(self) -> ExitCode {
        self.remote.end(self.download().await)
    }

    async fn download(&self) -> Result<ExitCode, Failure> {
        let mut signals = Signals::listen()?;
        tokio::select! {
            downloaded = self.download_to_output() => downloaded,
            signal = signals.next() => Err(Failure::new(signal.exit(), "interrupted")),
        }
    }

    async fn download_to_output(&self) -> Result<ExitCode, Failure> {
        let name = document_name(&self.document)?;
        let client = &self.remote.client(Caller::Token).await?.with_patience(self.retry.patience);
        if self.output.as_deref() == Some(Path::new("-")) {
            if self.remote.json {
                return Err(Failure::usage("--json and the document cannot both go to standard output"));
            }
            let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|error| failed(Path::new("-"), &error))?;
            self.receive(client, &name, &mut File::from_std(stdout.into())).await?;
            return Ok(ExitCode::SUCCESS);
        }
        // Before the output is checked: without a document nothing is written.
        let document = uploaded(client, &name).await?;
        let file = match &self.output {
            Some(file) => file.clone(),
            None => own_name(&document)?,
        };
        self.check_output(&file)?;
        // In the folder of the file that it becomes. Removed when it is dropped before that.
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let default_mode = Permissions::from_mode(0o666);
        let partial =
            Builder::new().prefix(".print-upload-").suffix(".part").permissions(default_mode).tempfile_in(folder);
        let partial = partial.map_err(|error| failed(folder, &error))?;
        let mut output = File::from_std(partial.reopen().map_err(|error| failed(partial.path(), &error))?);
        let document = self.receive(client, &name, &mut output).await?;
        output.sync_all().await.map_err(|error| failed(partial.path(), &error))?;
        // Again: it may have changed in the meantime.
        if let Some(permissions) = self.check_output(&file)? {
            fs::set_permissions(partial.path(), permissions).map_err(|error| failed(partial.path(), &error))?;
        }
        rename(partial, &file, self.force)?;
        self.print(&file, &document)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Returns the permissions of the file that the download overwrites, if there is one. Fails when it must not.
    fn check_output(&self, file: &Path) -> Result<Option<Permissions>, Failure> {
        let metadata = match fs::symlink_metadata(file) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(file, &error)),
        };
        if metadata.is_dir() {
            return Err(Failure::new(Exit::Other, format!("{} is a folder: name a file in it", file.display())));
        }
        if !metadata.is_file() {
            return Err(Failure::new(
                Exit::Other,
                format!("{} is no regular file, and is not overwritten", file.display()),
            ));
        }
        if self.force { Ok(Some(metadata.permissions())) } else { Err(exists(file)) }
    }

    async fn receive(&self, client: &Client, document: &str, output: &mut File) -> Result<PrintDocument, Failure> {
        let (progress, watching) = watch::channel(Progress::default());
        let _printer = ProgressPrinter::start(watching, self.remote.json);
        Ok(client.download(document, output, &progress).await?)
    }

    fn print(&self, file: &Path, document: &PrintDocument) -> Result<(), Failure> {
        if self.remote.json {
            return output::print(
                serde_json::json!({"file": file.to_string_lossy(), "document": output::document_json(document)?}),
            );
        }
        let (size, crc32c) = (document.size_bytes, output::crc32c(document));
        output::print(format!("downloaded {}: {size} bytes, CRC32C {crc32c}", file.display()))
    }
}

/// The document, or why there is none to download.
async fn uploaded(client: &Client, name: &str) -> Result<PrintDocument, Failure> {
    let document = client.document(name).await?;
    if document.state() == State::Uploaded {
        return Ok(document);
    }
    // The service gives the reason, unless the last byte has arrived in the meantime.
    Ok(client.download(name, &mut tokio::io::sink(), &watch::Sender::default()).await?)
}

/// Gives a complete download its name. Without `force` a file that has appeared in the meantime stays.
fn rename(partial: NamedTempFile, file: &Path, force: bool) -> Result<(), Failure> {
    let renamed = if force { partial.persist(file) } else { partial.persist_noclobber(file) };
    match renamed {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(file)),
        Err(error) => Err(failed(file, &error.error)),
    }
}

/// The document's name, when it is a plain file name: the uploader must not choose another folder, a hidden file, or
/// one that is displayed as another.
fn own_name(document: &PrintDocument) -> Result<PathBuf, Failure> {
    let name = Path::new(&document.document_name);
    let is_hidden = document.document_name.starts_with('.') || document.document_name.contains(is_invisible);
    if is_hidden || name.file_name() != Some(name.as_os_str()) {
        return Err(Failure::usage("the document's name cannot be used as a file name: give --output"));
    }
    Ok(name.to_owned())
}

fn exists(file: &Path) -> Failure {
    Failure::new(Exit::Other, format!("{} exists already: give --force to overwrite it", file.display()))
}

fn failed(file: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Other, format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> PrintDocument {
        PrintDocument { document_name: name.into(), ..Default::default() }
    }

    #[test]
    fn the_uploader_of_a_document_cannot_choose_the_folder() {
        assert_eq!(own_name(&named("poster.pdf")).expect("a file name"), Path::new("poster.pdf"));
        for name in ["../poster.pdf", "/etc/passwd", "a/b", "a/", "..", ".", "", ".bashrc", "a\u{202e}fdp.exe"] {
            assert!(own_name(&named(name)).is_err(), "{name}");
        }
    }
}
