//! Who gets the permits of downloads.

use print_upload::proto::{DownloadPrintDocumentRequest, DownloadPrintDocumentResponse};
use tonic::{Status, Streaming};

use crate::harness::{Actor, App, ErrorExt, FOREIGN_TENANT, TENANT, eventually, sample_bytes};

type Download = Streaming<DownloadPrintDocumentResponse>;

fn request(name: &str) -> DownloadPrintDocumentRequest {
    DownloadPrintDocumentRequest { name: name.into(), offset: 0 }
}

/// Begins a download and reads nothing of it.
async fn begin(reader: &Actor, document: &str) -> Result<Download, Status> {
    let mut documents = reader.client.documents.clone();
    Ok(documents.download_print_document(request(document)).await?.into_inner())
}

async fn refused(reader: &Actor, document: &str) -> (String, usize) {
    begin(reader, document).await.expect_err("no permit").too_many_transfers()
}

#[tokio::test]
async fn a_tenant_that_does_not_read_its_downloads_leaves_permits_for_the_others() {
    let app = App::with([("max-transfers", "8")]).await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(10 << 20));
    ada.upload(&document, &bytes).await.expect("an upload");
    let reader = |name: &str| app.user(TENANT, name, &["PrintJob.Read.All", "Printer.Read.All"]);
    let readers = [reader("one"), reader("two"), reader("three")];

    let mut held = Vec::new();
    for reader in &readers[..2] {
        for _ in 0..2 {
            held.push(begin(reader, &document).await.expect("a quarter"));
        }
        assert_eq!(refused(reader, &document).await, ("caller".into(), 2));
    }
    assert_eq!(refused(&readers[2], &document).await, ("tenant".into(), 4));

    let mut other = app.uploader(FOREIGN_TENANT, "other");
    let session = other.create_with_job(1000).await.expect("a session");
    let few = sample_bytes(1000);
    other.send(&session, &few, 0..1000).await.expect("an upload");
    assert!(other.download(&session.document, 0).await.expect("a download").1 == few);
    ada.upload(&app.new_document().await, &few).await.expect("ranges have permits of their own");

    // Who hangs up returns the permit.
    drop(held.swap_remove(0));
    eventually("a permit is returned", async || begin(&readers[0], &document).await.is_ok()).await;
}
