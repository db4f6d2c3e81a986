//! A download: the bytes of a document in order. A stream that breaks is resumed.

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::watch,
};
use tonic::Status;

use crate::{
    Client, Error, MAX_CHUNK_BYTES, Progress,
    proto::{DownloadPrintDocumentRequest, PrintDocument, download_print_document_response::Content},
    retry::{self, timeout_on_slow_line, within},
};

/// The bytes that have been written. A document never changes, so bytes from several streams belong together.
#[derive(Debug, Default)]
struct Written {
    bytes: u64,
    crc32c: u32,
    document: Option<PrintDocument>,
}

impl Client {
    /// Writes the bytes of a document, and checks that they have the document's CRC32C. A stream that breaks is resumed
    /// where it broke, until nothing has arrived for as long as the client's patience.
    pub async fn download(
        &self,
        document: &str,
        output: &mut (impl AsyncWrite + Unpin),
        progress: &watch::Sender<Progress>,
    ) -> Result<PrintDocument, Error> {
        let mut written = Written::default();
        let mut patience = retry::Patience::new(self.patience);
        loop {
            let before = written.bytes;
            let Err(error) = self.read_stream(document, &mut written, output, progress).await else { break };
            if written.bytes > before {
                patience.succeeded();
            }
            patience.wait(error, progress).await?;
        }
        output.flush().await.map_err(Error::Output)?;
        written.checked()
    }

    /// Reads one stream, from where the last one has ended.
    async fn read_stream(
        &self,
        document: &str,
        written: &mut Written,
        output: &mut (impl AsyncWrite + Unpin),
        progress: &watch::Sender<Progress>,
    ) -> Result<(), Error> {
        let offset = written.bytes.try_into().unwrap_or(i64::MAX);
        let request = DownloadPrintDocumentRequest { name: document.into(), offset };
        let mut documents = self.documents.clone();
        let mut messages = within(self.timeout, documents.download_print_document(request)).await?.into_inner();
        let timeout = timeout_on_slow_line(self.timeout, MAX_CHUNK_BYTES as u64);
        while let Some(message) = within(timeout, messages.message()).await? {
            match message.content {
                Some(Content::Document(document)) => {
                    let size = document.size_bytes.try_into().unwrap_or_default();
                    progress.send_replace(Progress { size, done: written.bytes, ..Progress::default() });
                    written.document = Some(document);
                }
                Some(Content::Chunk(chunk)) => {
                    output.write_all(&chunk).await.map_err(Error::Output)?;
                    written.bytes += chunk.len() as u64;
                    written.crc32c = crc32c::crc32c_append(written.crc32c, &chunk);
                    progress.send_modify(|progress| progress.done = written.bytes);
                }
                None => {}
            }
        }
        Ok(())
    }
}

impl Written {
    fn checked(self) -> Result<PrintDocument, Error> {
        let document = self.document.ok_or_else(|| Status::unknown("the service sent no document"))?;
        let is_whole = u64::try_from(document.size_bytes) == Ok(self.bytes);
        if is_whole && document.crc32c == Some(self.crc32c) {
            Ok(document)
        } else {
            Err(Error::DigestMismatch { service: document.crc32c, local: self.crc32c })
        }
    }
}
