//! Who gets the permits of downloads, and how long a download keeps its own.

use print_upload::proto::{
    DownloadPrintDocumentRequest, DownloadPrintDocumentResponse, download_print_document_response::Content,
    print_documents_client::PrintDocumentsClient,
};
use tonic::{Code, Request, Status, Streaming, transport::Endpoint};

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

/// The same with a window of one byte: of the smallest document something is left to be sent.
async fn begin_with_closed_window(app: &App, reader: &Actor, document: &str) -> Download {
    let endpoint = Endpoint::from_shared(format!("http://{}", app.address)).expect("an address");
    let channel = endpoint.initial_stream_window_size(1).connect().await.expect("a connection");
    let mut request = Request::new(request(document));
    let token = format!("Bearer {}", reader.access_token()).parse().expect("a header");
    request.metadata_mut().insert("authorization", token);
    PrintDocumentsClient::new(channel).download_print_document(request).await.expect("a download").into_inner()
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

/// Otherwise callers without a permit could have any number of small documents kept in memory.
#[tokio::test]
async fn a_small_document_holds_its_permit_until_it_is_read() {
    let mut app = App::with([("max-transfers", "4")]).await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(200_000));
    ada.upload(&document, &bytes).await.expect("an upload");
    let stalled = begin_with_closed_window(&app, &ada, &document).await;
    for _ in 0..20 {
        assert_eq!(refused(&ada, &document).await, ("caller".into(), 1));
    }
    drop(stalled);
    eventually("the permit is returned", async || ada.download(&document, 0).await.is_ok()).await;

    app.stop().await;
    app.set_flag("range-timeout", "1s");
    app.run().await;
    let mut ada = app.ada();
    let mut stalled = begin_with_closed_window(&app, &ada, &document).await;
    eventually("it is given up", async || ada.download(&document, 0).await.is_ok()).await;
    // All of its bytes may have been on their way already.
    let mut received = 0;
    loop {
        match stalled.message().await {
            Ok(Some(DownloadPrintDocumentResponse { content: Some(Content::Chunk(chunk)) })) => received += chunk.len(),
            Ok(Some(_)) => {}
            Ok(None) => break assert_eq!(received, bytes.len(), "a cut document must not look like a whole one"),
            Err(ended) => {
                break assert_eq!(ended.code_and_reason(), (Code::DeadlineExceeded, "DOWNLOAD_TIMEOUT".into()));
            }
        }
    }
}
