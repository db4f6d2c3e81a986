//! `print-upload download`: a document, whole or not at all.

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
    EXIT_CODES, Failure, Patience, Remote, interrupt::Signals, output, progress::Shown, target::document_name,
};
use crate::proto::{PrintDocument, print_document::State};

/// What is downloaded, and where to.
#[derive(Debug, Args)]
#[command(after_long_help = format!("The file appears when it is complete and has the document's CRC32C, not before.\n\n\
    With --json: {{\"file\": \"…\", \"document\": {{…}}}}; document is a PrintDocument of the proto in JSON.\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Download {
    /// The document: printers/{printer}/jobs/{job}/documents/{document}, or below shares/{share}.
    document: String,

    /// The file to write, - for standard output [default: the document's name, in this folder].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace the file when there is one.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    patience: Patience,

    #[command(flatten)]
    remote: Remote,
}

impl Download {
    /// Downloads it.
    pub(in crate::cli) async fn run(self) -> ExitCode {
        self.remote.end(self.download().await)
    }

    async fn download(&self) -> Result<ExitCode, Failure> {
        let mut signals = Signals::listen()?;
        tokio::select! {
            downloaded = self.to_its_place() => downloaded,
            asked = signals.next() => Err(Failure::new(asked.exit_code(), "interrupted")),
        }
    }

    async fn to_its_place(&self) -> Result<ExitCode, Failure> {
        let name = document_name(&self.document)?;
        let client = &self.remote.client().await?.with_patience(self.patience.patience);
        if self.output.as_deref() == Some(Path::new("-")) {
            if self.remote.json {
                return Err(Failure::usage("--json and the document cannot both go to standard output"));
            }
            let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|error| failed(Path::new("-"), &error))?;
            self.receive(client, &name, &mut File::from_std(stdout.into())).await?;
            return Ok(ExitCode::SUCCESS);
        }
        // Before any place for it is looked at: without a document that does not matter.
        let document = uploaded(client, &name).await?;
        let file = match &self.output {
            Some(file) => file.clone(),
            None => own_name(&document)?,
        };
        self.check_place(&file)?;
        // Beside the file that it becomes, and gone when it is dropped before.
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let as_usual = Permissions::from_mode(0o666);
        let partial = Builder::new().prefix(".print-upload-").suffix(".part").permissions(as_usual).tempfile_in(folder);
        let partial = partial.map_err(|error| failed(folder, &error))?;
        let mut output = File::from_std(partial.reopen().map_err(|error| failed(partial.path(), &error))?);
        let document = self.receive(client, &name, &mut output).await?;
        output.sync_all().await.map_err(|error| failed(partial.path(), &error))?;
        // Again: much may have happened there in the meantime.
        if let Some(replaced) = self.check_place(&file)? {
            fs::set_permissions(partial.path(), replaced).map_err(|error| failed(partial.path(), &error))?;
        }
        put_in_place(partial, &file, self.force)?;
        self.tell(&file, &document)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Fails when there is something that is not to be replaced; else tells the permissions of the file that is.
    fn check_place(&self, file: &Path) -> Result<Option<Permissions>, Failure> {
        let there = match fs::symlink_metadata(file) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(file, &error)),
        };
        if there.is_dir() {
            return Err(Failure::new(1, format!("{} is a folder: say a file in it", file.display())));
        }
        if !there.is_file() {
            return Err(Failure::new(1, format!("{} is no regular file, and not replaced", file.display())));
        }
        if self.force { Ok(Some(there.permissions())) } else { Err(exists(file)) }
    }

    async fn receive(&self, client: &Client, document: &str, output: &mut File) -> Result<PrintDocument, Failure> {
        let (progress, watching) = watch::channel(Progress::default());
        let _shown = Shown::begin(watching, self.remote.json);
        Ok(client.download(document, output, &progress).await?)
    }

    fn tell(&self, file: &Path, document: &PrintDocument) -> Result<(), Failure> {
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
    // The service says why not, unless the last byte has come just now.
    Ok(client.download(name, &mut tokio::io::sink(), &watch::Sender::default()).await?)
}

/// Gives a complete download its name. A file that has appeared there in the meantime stays, unless it may be replaced.
fn put_in_place(partial: NamedTempFile, file: &Path, force: bool) -> Result<(), Failure> {
    let placed = if force { partial.persist(file) } else { partial.persist_noclobber(file) };
    match placed {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(file)),
        Err(error) => Err(failed(file, &error.error)),
    }
}

/// The name that the document was given, when it is a plain file name: whoever uploaded it chooses no folder and no hidden file of ours.
fn own_name(document: &PrintDocument) -> Result<PathBuf, Failure> {
    let name = Path::new(&document.document_name);
    if document.document_name.starts_with('.') || name.file_name() != Some(name.as_os_str()) {
        return Err(Failure::usage("the document's name cannot be used as a file name: give --output"));
    }
    Ok(name.to_owned())
}

fn exists(file: &Path) -> Failure {
    Failure::new(1, format!("{} is there already: say --force to replace it", file.display()))
}

fn failed(file: &Path, error: &io::Error) -> Failure {
    Failure::new(1, format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> PrintDocument {
        PrintDocument { document_name: name.into(), ..Default::default() }
    }

    #[test]
    fn whoever_uploaded_a_document_chooses_no_folder_of_ours() {
        assert_eq!(own_name(&named("poster.pdf")).expect("a file name"), Path::new("poster.pdf"));
        for name in ["../poster.pdf", "/etc/passwd", "a/b", "a/", "..", ".", "", ".bashrc"] {
            assert!(own_name(&named(name)).is_err(), "{name}");
        }
    }
}
