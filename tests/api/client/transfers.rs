//! Uploads and downloads of the client crate: what it retries, and what it reports.

#[path = "../../../crates/client/examples/upload.rs"]
#[expect(dead_code, reason = "its main is for the command line")]
mod example;

use std::{num::NonZero, time::Duration};

use print_upload::proto::{DocumentProperties, UploadSession, upload_session::State};
use print_upload_client::{Client, Credential, Error, Progress, Source, UploadOptions};
use tokio::{io::AsyncReadExt, sync::watch, task::JoinHandle};

use crate::harness::{Actor, App, Cut, Proxy, crc32c, eventually, sample_bytes};

const SIZE: usize = 8_000_000;

/// Ada's client behind a proxy that can be stopped.
async fn behind_proxy(app: &App) -> (Client, Proxy) {
    let proxy = Proxy::start(app.address).await;
    (client_at(&app.ada(), &proxy.port.address.to_string()), proxy)
}

fn client_at(actor: &Actor, address: &str) -> Client {
    let credential = Credential::access_token(actor.access_token()).expect("a token");
    Client::new(&format!("http://{address}"), credential).expect("a client")
}

/// A client whose credential is the session's upload URL.
fn holder(app: &App, session: &UploadSession) -> Client {
    let credential = Credential::of_upload_url(&session.upload_url).expect("an upload URL");
    Client::new(&format!("http://{}", app.address), credential).expect("a client")
}

async fn create(client: &Client, document: &str) -> UploadSession {
    let properties = DocumentProperties {
        document_name: "poster.pdf".into(),
        content_type: "application/pdf".into(),
        size_bytes: SIZE as i64,
    };
    client.create(document, &properties).await.expect("a session")
}

/// Starts an upload in small ranges, at a pace that leaves time to disturb it.
fn begin(client: &Client, session: &UploadSession) -> (JoinHandle<Result<u32, Error>>, watch::Receiver<Progress>) {
    begin_with(client, session, 200_000)
}

/// The same in ranges of `range_bytes`.
fn begin_with(
    client: &Client,
    session: &UploadSession,
    range_bytes: u64,
) -> (JoinHandle<Result<u32, Error>>, watch::Receiver<Progress>) {
    let (client, session) = (client.clone(), session.clone());
    let (progress, watching) = watch::channel(Progress::default());
    let options = UploadOptions {
        range_bytes: NonZero::new(range_bytes).expect("some"),
        bytes_per_second: NonZero::new(4_000_000),
        ..UploadOptions::default()
    };
    let uploading = tokio::spawn(async move {
        let source = Source::bytes(sample_bytes(SIZE));
        Ok(client.upload(&session, &source, &options, &progress).await?.crc32c())
    });
    (uploading, watching)
}

#[tokio::test]
async fn the_example_uploads_resumes_and_downloads() {
    let app = App::start().await;
    let (ada, document, folder) = (app.ada(), app.new_document().await, tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("poster.pdf");
    std::fs::write(&file, sample_bytes(SIZE)).expect("a file");
    let client = client_at(&ada, &app.address.to_string());
    let session = create(&client, &document).await;
    ada.clone().send(&session, &sample_bytes(SIZE), 1000..2000).await.expect("what an earlier run has sent");

    let uploaded = example::upload(&client, &document, &file).await.expect("an upload");

    assert_eq!(uploaded, crc32c(&sample_bytes(SIZE)));
    assert!(example::download(&client, &document).await.expect("a download") == sample_bytes(SIZE));
}

#[tokio::test]
async fn an_upload_goes_on_when_its_connection_breaks() {
    let app = App::start().await;
    let (client, mut proxy) = behind_proxy(&app).await;
    let session = create(&client, &app.new_document().await).await;
    let (uploading, watching) = begin(&client, &session);
    for part in 1..=3 {
        eventually("it goes on", async || watching.borrow().done > part * SIZE as u64 / 5).await;
        proxy.stop().await;
        eventually("it waits", async || watching.borrow().trouble.is_some()).await;
        proxy.restart().await;
    }

    assert_eq!(uploading.await.expect("no panic").expect("uploaded"), crc32c(&sample_bytes(SIZE)));
    let (done, in_flight) = (watching.borrow().done, watching.borrow().in_flight);
    assert_eq!((done, in_flight), (SIZE as u64, 0));
}

#[tokio::test]
async fn whoever_may_upload_and_not_read_goes_on_when_the_first_range_breaks() {
    let app = App::start().await;
    let mut proxy = Proxy::start(app.address).await;
    let client = client_at(&app.ada_who_may_not_read(), &proxy.port.address.to_string());
    let session = create(&client, &app.new_document().await).await;
    let refused = client.session(&session.name).await.expect_err("a look");
    assert_eq!(refused.reason_name().as_deref(), Some("PERMISSION_MISSING"));
    let (uploading, watching) = begin_with(&client, &session, SIZE as u64);
    eventually("the first range is on its way", async || watching.borrow().in_flight > 0).await;
    proxy.stop().await;
    eventually("it waits", async || watching.borrow().trouble.is_some()).await;
    proxy.restart().await;

    assert_eq!(uploading.await.expect("no panic").expect("uploaded"), crc32c(&sample_bytes(SIZE)));
}

#[tokio::test]
async fn a_completion_that_nobody_heard_of_is_found_out() {
    let (app, database) = App::behind_proxy().await;
    for who in ["the owner", "an owner who may not read", "the holder of the upload URL"] {
        let owner = client_at(&app.ada(), &app.address.to_string());
        let session = create(&owner, &app.new_document().await).await;
        let (client, credential) = match who {
            "the owner" => (owner, "access-token"),
            "an owner who may not read" => {
                (client_at(&app.ada_who_may_not_read(), &app.address.to_string()), "access-token")
            }
            _ => (holder(&app, &session), "upload-url"),
        };
        database.arm(credential.as_bytes(), Cut::BeforeTheAnswer);
        let (source, progress) = (Source::bytes(sample_bytes(SIZE)), watch::Sender::default());

        let uploaded = client.upload(&session, &source, &UploadOptions::default(), &progress).await.expect("uploaded");

        assert!(!database.is_armed(), "{who}: the answer to the commit was lost");
        assert_eq!((uploaded.crc32c(), uploaded.size_bytes), (crc32c(&sample_bytes(SIZE)), SIZE as i64));
    }
}

#[tokio::test]
async fn an_upload_gives_up_when_nobody_is_there_for_too_long() {
    let app = App::start().await;
    let (client, mut proxy) = behind_proxy(&app).await;
    let client = client.with_patience(Duration::from_millis(300));
    let session = create(&client, &app.new_document().await).await;
    let (uploading, watching) = begin(&client, &session);
    eventually("it has begun", async || watching.borrow().done > 0).await;
    proxy.stop().await;
    let error = uploading.await.expect("no panic").expect_err("the service does not answer");
    assert!(matches!(error, Error::Call(_)) && error.reason().is_none(), "{error:?}");
}

#[tokio::test]
async fn what_went_well_before_a_break_costs_no_patience() {
    let app = App::start().await;
    let (client, mut proxy) = behind_proxy(&app).await;
    let client = client.with_patience(Duration::from_secs(1));
    let session = create(&client, &app.new_document().await).await;
    // One range, which takes longer than the client's patience.
    let (uploading, watching) = begin_with(&client, &session, SIZE as u64);
    eventually("most of it is on its way", async || watching.borrow().in_flight > 7_000_000).await;
    proxy.stop().await;
    proxy.restart().await;

    assert_eq!(uploading.await.expect("no panic").expect("uploaded"), crc32c(&sample_bytes(SIZE)));
}

#[tokio::test]
async fn ranges_that_take_too_long_are_made_smaller() {
    let app = App::with([("range-timeout", "1s")]).await;
    let client = client_at(&app.ada(), &app.address.to_string());
    let session = create(&client, &app.new_document().await).await;
    let (uploading, watching) = begin_with(&client, &session, SIZE as u64);

    assert_eq!(uploading.await.expect("no panic").expect("uploaded"), crc32c(&sample_bytes(SIZE)));
    assert!(watching.borrow().sent > SIZE as u64, "some bytes were sent in vain");
}

#[tokio::test]
async fn whoever_holds_an_upload_url_learns_that_somebody_else_has_completed_it() {
    let app = App::start().await;
    let owner = client_at(&app.ada(), &app.address.to_string());
    let session = create(&owner, &app.new_document().await).await;
    begin(&owner, &session).0.await.expect("no panic").expect("uploaded");
    let holder = holder(&app, &session);
    let seen = holder.session(&session.name).await.expect("the session");
    let late = begin(&holder, &seen).0.await.expect("no panic").expect_err("the document is not reported");
    assert!(matches!(late, Error::Ended(State::Completed)), "{late:?}");
}

#[tokio::test]
async fn what_is_refused_is_reported_at_once() {
    let app = App::start().await;
    let (mut ada, bob, document) = (app.ada(), app.bob(), app.new_document().await);
    let client = client_at(&ada, &app.address.to_string());
    let session = create(&client, &document).await;
    let (not_his, _) = begin(&client_at(&bob, &app.address.to_string()), &session);
    let refused = not_his.await.expect("no panic").expect_err("not his");
    assert_eq!(refused.reason_name().as_deref(), Some("NOT_SESSION_OWNER"));

    let (uploading, watching) = begin(&client, &session);
    eventually("it has begun", async || watching.borrow().done > 0).await;
    ada.delete(&session.name).await.expect("deleted");
    let canceled = uploading.await.expect("no panic").expect_err("canceled");
    assert_eq!(canceled.reason_name().as_deref(), Some("UPLOAD_SESSION_CANCELED"));
}

#[tokio::test]
async fn a_download_goes_on_where_its_connection_broke() {
    let app = App::start().await;
    let (document, bytes) = (app.new_document().await, sample_bytes(SIZE));
    app.ada().upload(&document, &bytes).await.expect("an upload");
    let (client, mut proxy) = behind_proxy(&app).await;
    // A small buffer, so that the service cannot send much ahead of the reader.
    let (mut output, mut input) = tokio::io::duplex(64 * 1024);
    let (progress, watching) = watch::channel(Progress::default());
    let downloading = tokio::spawn(async move {
        let downloaded = client.download(&document, &mut output, &progress).await;
        downloaded.map(|document| document.crc32c())
    });
    let mut received = vec![0; SIZE / 4];
    input.read_exact(&mut received).await.expect("a part");
    proxy.stop().await;
    proxy.restart().await;
    input.read_to_end(&mut received).await.expect("the rest");

    assert_eq!(downloading.await.expect("no panic").expect("downloaded"), crc32c(&bytes));
    assert!(received == bytes);
    assert_eq!(watching.borrow().done, SIZE as u64);
}

#[tokio::test]
async fn the_holder_of_an_upload_url_uploads_without_a_token() {
    let app = App::start().await;
    let session = create(&client_at(&app.ada(), &app.address.to_string()), &app.new_document().await).await;
    let holder = holder(&app, &session);
    let seen = holder.session(&session.name).await.expect("the session");
    let (uploading, _) = begin(&holder, &seen);
    assert_eq!(uploading.await.expect("no panic").expect("uploaded"), crc32c(&sample_bytes(SIZE)));
}
