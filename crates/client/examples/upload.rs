//! Uploads a document, resumes the upload after a break, and downloads the document again.

use std::path::Path;

use print_upload_client::{Client, Credential, Error, Progress, Source, UploadOptions, proto::DocumentProperties};
use tokio::sync::watch;

/// Uploads a PDF. Called again after a break of any kind, it sends only what is missing.
pub async fn upload(client: &Client, document: &str, file: &Path) -> Result<u32, Error> {
    let source = Source::file(file)?;
    let properties = DocumentProperties {
        document_name: "poster.pdf".into(),
        content_type: "application/pdf".into(),
        size_bytes: source.size_bytes() as i64,
    };
    let session = client.create(document, &properties).await?;

    let (progress, watching) = watch::channel(Progress::default());
    let uploaded = client.upload(&session, &source, &UploadOptions::default(), &progress).await?;
    assert_eq!(watching.borrow().done, source.size_bytes());
    Ok(uploaded.crc32c())
}

/// Downloads a document into memory. Any `AsyncWrite` can be the output.
pub async fn download(client: &Client, document: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    client.download(document, &mut bytes, &watch::Sender::default()).await?;
    Ok(bytes)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, token_file, document, file] = arguments.as_slice() else {
        anyhow::bail!("usage: upload http://HOST:PORT TOKEN_FILE DOCUMENT FILE");
    };
    let client = Client::new(endpoint, Credential::token_file(Path::new(token_file))?)?;
    let crc32c = upload(&client, document, Path::new(file)).await?;
    println!("uploaded, CRC32C {crc32c:08x}");
    let bytes = download(&client, document).await?;
    println!("downloaded {} bytes", bytes.len());
    Ok(())
}
