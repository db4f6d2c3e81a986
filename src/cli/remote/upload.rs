//! `print-upload upload`: sends a file in parallel ranges until the document is complete.

use std::{num::NonZero, path::PathBuf, process::ExitCode};

use clap::Args;
use print_upload_client::{Client, Error, Progress, Reason, Source, UploadOptions};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::sync::watch;

use super::{
    Caller, EXIT_CODES, Exit, Failure, Named, Remote, RetryOptions, UploadUrl,
    interrupt::{Decision, OnInterrupt, Signals, StopSignal},
    output,
    progress::ProgressPrinter,
    size::size,
    spool,
    target::{document_name, session_in},
};
use crate::proto::{
    DeleteUploadSessionRequest, DocumentProperties, PrintDocument, UploadSession, upload_session::State,
};

/// Which file to upload, where to, and how.
#[derive(Debug, Args)]
#[command(after_long_help = format!("To resume an interrupted upload, run the same command again.\n\n\
    An interrupted upload keeps its session. If --on-interrupt or the answer to the question cancels it, the exit code \
    is 5. A second signal before the cancel is confirmed ends the program with 130 or 143.\n\nWith --json: \
    {{\"session\": \"uploadSessions/{{id}}\", \"document\": {{…}}, \"resumedBytes\": 0, \"sentBytes\": 11}}. \
    The document is a PrintDocument of the proto in JSON. The session is null when an earlier run had completed the \
    document. resumedBytes counts the bytes that the service had before this run. sentBytes counts all bytes that this \
    run sent: also those that it sent again after a failure, and those that the service had and \
    compared.\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Upload {
    /// File to upload; - for standard input. A pipe is read to its end into a temporary file (TMPDIR) first.
    file: PathBuf,

    /// Document to upload to: printers/{printer}/jobs/{job}/documents/{document}, or the same with shares/{share}.
    /// Required without an upload URL.
    #[arg(long, conflicts_with = "url")]
    document: Option<String>,

    /// Display name of the document [default: the file's name; stdin for standard input].
    #[arg(long, conflicts_with = "url")]
    name: Option<String>,

    /// Media type of the document [default: by the file's extension, else application/octet-stream].
    #[arg(long, conflicts_with = "url")]
    content_type: Option<String>,

    /// How many ranges to send at once, and to keep in memory.
    #[arg(long, default_value = "4")]
    parallel: NonZero<u32>,

    /// Size of a range. Ranges get smaller when the service demands it.
    #[arg(long, default_value = "8MiB", value_parser = size)]
    range_size: NonZero<u64>,

    /// Send at most this much per second [default: as fast as possible].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    limit_rate: Option<NonZero<u64>>,

    /// What to do with the session on Ctrl-C or SIGTERM. `ask` asks on Ctrl-C at a terminal; on SIGTERM, without a
    /// terminal or with --json it keeps the session. A second signal ends the program at once.
    #[arg(long, value_enum, default_value = "ask")]
    on_interrupt: OnInterrupt,

    #[command(flatten)]
    upload_url: UploadUrl,

    #[command(flatten)]
    retry: RetryOptions,

    #[command(flatten)]
    remote: Remote,
}

/// Where to upload to.
enum Destination {
    /// A document, by its name.
    Document(String),
    /// The session of an upload URL, by its name.
    Session(String),
}

/// What creating or getting the session returned.
enum Begun {
    /// A session: a new one, or that of an earlier run.
    Session(Box<UploadSession>),
    /// A document that an earlier run has completed.
    Uploaded(PrintDocument),
}

impl Upload {
    /// Uploads the file, or the part of it that is missing.
    pub(in crate::cli) async fn run(self) -> ExitCode {
        self.remote.end(self.upload().await)
    }

    async fn upload(&self) -> Result<ExitCode, Failure> {
        let mut signals = Signals::listen()?;
        let destination = self.destination()?;
        let source = tokio::select! {
            source = spool::source(&self.file) => source?,
            signal = signals.next() => return Err(self.interrupted_early(signal)),
        };
        let (client, begun) = tokio::select! {
            begun = self.begin(destination, &source) => begun?,
            signal = signals.next() => return Err(self.interrupted_early(signal)),
        };
        match begun {
            Begun::Uploaded(document) => self.print(None, &document, source.size_bytes(), 0),
            Begun::Session(session) => {
                let sent = self.send(&client, &session, &source, &mut signals).await;
                sent.map_err(|failure| failure.with_advice().of_session(&session.name))
            }
        }
    }

    fn destination(&self) -> Result<Destination, Failure> {
        if let Some(document) = &self.document {
            return Ok(Destination::Document(document_name(document)?));
        }
        let url = self.upload_url.given().ok_or_else(|| Failure::usage("give --document or --upload-url"))?;
        Ok(Destination::Session(session_in(url.expose_secret())?))
    }

    async fn begin(&self, destination: Destination, source: &Source) -> Result<(Client, Begun), Failure> {
        let patience = self.retry.patience;
        match destination {
            Destination::Document(document) => {
                let client = self.remote.client(Caller::Token).await?.with_patience(patience);
                let begun = self.create(&client, &document, source).await?;
                Ok((client, begun))
            }
            Destination::Session(session) => {
                let caller = self.remote.caller(&self.upload_url, Named::ByUploadUrl);
                let client = self.remote.client(caller).await?.with_patience(patience);
                let session = client.session(&session).await?;
                Ok((client, Begun::Session(session.into())))
            }
        }
    }

    async fn create(&self, client: &Client, document: &str, source: &Source) -> Result<Begun, Failure> {
        match client.create(document, &self.properties(source)?).await {
            // Perhaps an earlier run has uploaded it, and got no response.
            Err(error) if error.reason() == Some(Reason::DocumentAlreadyUploaded) => {
                let uploaded = match client.document(document).await {
                    // This caller may only upload: the first error is the one to report.
                    Err(denied) if denied.is_permission_missing() => return Err(error.into()),
                    returned => returned?,
                };
                let is_same = uploaded.crc32c == Some(source.crc32c().await?);
                if is_same { Ok(Begun::Uploaded(uploaded)) } else { Err(error.into()) }
            }
            created => Ok(Begun::Session(created?.into())),
        }
    }

    async fn send(
        &self,
        client: &Client,
        session: &UploadSession,
        source: &Source,
        signals: &mut Signals,
    ) -> Result<ExitCode, Failure> {
        let resumed = session.received_bytes.try_into().unwrap_or_default();
        self.announce(session, source);
        let options =
            UploadOptions { parallel: self.parallel, range_bytes: self.range_size, bytes_per_second: self.limit_rate };
        let (progress, watching) = watch::channel(Progress::default());
        let printer = ProgressPrinter::start(watching.clone(), self.remote.json);
        let outcome = tokio::select! {
            uploaded = client.upload(session, source, &options, &progress) => Ok(uploaded),
            signal = signals.next() => Err(signal),
        };
        drop(printer);
        match outcome {
            Ok(document) => self.print(Some(session), &document?, resumed, watching.borrow().sent),
            Err(signal) if watching.borrow().is_complete() => Err(Failure::new(
                signal.exit(),
                "interrupted after the upload was completed, before the document was compared with the file",
            )),
            Err(signal) => Err(self.interrupted(client, session, signals, signal).await),
        }
    }

    async fn interrupted(
        &self,
        client: &Client,
        session: &UploadSession,
        signals: &mut Signals,
        signal: StopSignal,
    ) -> Failure {
        let name = &session.name;
        let on_interrupt = match self.on_interrupt {
            // A script reads the JSON: it cannot answer.
            OnInterrupt::Ask if self.remote.json => OnInterrupt::Keep,
            chosen => chosen,
        };
        if let Decision::Keep(signal) = signals.decide(on_interrupt, signal).await {
            return kept(session, signal);
        }
        tokio::select! {
            canceled = cancel(client, session) => match canceled {
                Ok(()) => Failure::ended(State::Canceled, "interrupted; the upload is canceled"),
                Err(error) => error.into(),
            },
            again = signals.next() => {
                let message = format!(
                    "interrupted before the cancel of {name} was confirmed: check with `print-upload status {name}`"
                );
                Failure::new(again.exit(), message)
            }
        }
    }

    fn interrupted_early(&self, signal: StopSignal) -> Failure {
        let hint = self.document.as_ref().map_or_else(String::new, |document| {
            format!("; a session may exist nevertheless: `print-upload cancel {document}` ends it")
        });
        Failure::new(signal.exit(), format!("interrupted before the upload began{hint}"))
    }

    fn announce(&self, session: &UploadSession, source: &Source) {
        if self.remote.json {
            return;
        }
        let (file, size) = (self.file.display(), source.size_bytes());
        if session.received_bytes > 0 {
            output::note(format!(
                "resuming {file} in {}: {} of {size} bytes are there",
                session.name, session.received_bytes
            ));
        } else {
            output::note(format!("uploading {file} in {}: {size} bytes", session.name));
        }
    }

    fn print(
        &self,
        session: Option<&UploadSession>,
        document: &PrintDocument,
        resumed: u64,
        sent: u64,
    ) -> Result<ExitCode, Failure> {
        if self.remote.json {
            let (session, document) = (session.map(|session| &session.name), output::document_json(document)?);
            let report = json!({"session": session, "document": document, "resumedBytes": resumed, "sentBytes": sent});
            output::print(report)?;
        } else {
            let what = if session.is_some() { "uploaded" } else { "was uploaded before:" };
            let crc32c = output::crc32c(document);
            output::print(format!(
                "{what} {}: {} bytes, CRC32C {crc32c}, the same as the file's",
                document.name, document.size_bytes
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn properties(&self, source: &Source) -> Result<DocumentProperties, Failure> {
        let document_name = self.name.clone().unwrap_or_else(|| spool::file_name(&self.file));
        let extension = self.file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let content_type = self.content_type.clone().unwrap_or_else(|| content_type(extension).to_owned());
        let size_bytes =
            source.size_bytes().try_into().map_err(|_| Failure::new(Exit::Other, "the file is too large"))?;
        Ok(DocumentProperties { document_name, content_type, size_bytes })
    }
}

async fn cancel(client: &Client, session: &UploadSession) -> Result<(), Error> {
    let request = || DeleteUploadSessionRequest { name: session.name.clone(), ..Default::default() };
    client.with_upload_url_fallback(session, |client| async move { client.cancel(request()).await }).await
}

fn kept(session: &UploadSession, signal: StopSignal) -> Failure {
    let (name, until) = (&session.name, output::time(session.expire_time));
    let message = format!(
        "interrupted; {name} is kept until {until} at least: the same command resumes it, \
         `print-upload cancel {name}` cancels it"
    );
    Failure::new(signal.exit(), message)
}

/// The media type of a document that printers accept, by its file extension.
fn content_type(extension: &str) -> &'static str {
    match extension.to_ascii_lowercase().as_str() {
        "pdf" => "application/pdf",
        "oxps" | "xps" => "application/oxps",
        "ps" => "application/postscript",
        "pwg" => "image/pwg-raster",
        "urf" => "image/urf",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "tif" | "tiff" => "image/tiff",
        "txt" => "text/plain",
        _ => "application/octet-stream",
    }
}
