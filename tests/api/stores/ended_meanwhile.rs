//! The store fails because another replica has dropped the bytes: the error is that of the session or the document, not
//! that of the store.

use std::{fs, os::unix::fs::symlink};

use axum::http::Method;
use print_upload::proto::{DownloadPrintDocumentRequest, UploadSession, upload_session::State};
use tonic::Code;

use crate::harness::{Actor, App, ErrorExt, Stalled, chunk, eventually, refused, sample_bytes};

const SIZE: usize = 1000;

/// A writer of the first 600 bytes that lacks the last of them.
async fn stalled_writer(app: &App, session: &UploadSession, ada: &Actor) -> Stalled {
    let stalled = ada.stall(session, &sample_bytes(SIZE), 0..600);
    eventually("the writer is under way", async || app.files_of(session).len() == 1).await;
    stalled
}

/// The writer sends its last byte, and is refused.
async fn refusal((sender, answer): Stalled) -> (Code, String) {
    // The service may have noticed the end already: it checks its writers' sessions every five seconds.
    drop(sender.send(chunk(sample_bytes(SIZE).slice(599..600))).await);
    drop(sender);
    answer.await.expect("an answer").expect_err("refused").code_and_reason()
}

fn drop_bytes(app: &App, session: &UploadSession) {
    fs::remove_dir_all(app.session_folder(session)).expect("the folder is removed");
}

#[tokio::test]
async fn a_writer_whose_session_ended_with_its_job_is_refused_because_of_that() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(SIZE));
    for (end, code, reason) in [
        (
            "update upload_session set state = 'canceled', end_time = now(), ended_by = owner,
             end_reason = 'print-job-deleted' where session_id = $1",
            Code::Aborted,
            "UPLOAD_SESSION_CANCELED",
        ),
        (
            "update upload_session set state = 'expired', end_time = now(), end_reason = 'expired'
             where session_id = $1",
            Code::Aborted,
            "UPLOAD_SESSION_EXPIRED",
        ),
        ("delete from upload_session where session_id = $1", Code::NotFound, "UPLOAD_SESSION_NOT_FOUND"),
    ] {
        let session = ada.create(&app.new_document().await, SIZE).await.expect("a session");
        let writer = stalled_writer(&app, &session, &ada).await;

        // As another replica does, before this one is notified.
        app.update_row(end, &session).await;
        drop_bytes(&app, &session);

        assert_eq!(refusal(writer).await, (code, reason.into()));
    }

    // The range that would complete the document, over REST.
    let document = app.new_document().await;
    let session = ada.create(&document, SIZE).await.expect("a session");
    ada.send(&session, &bytes, 0..500).await.expect("the first half");
    app.update_row(
        "update upload_session set state = 'canceled', end_time = now(), ended_by = owner,
         end_reason = 'print-job-canceled' where session_id = $1",
        &session,
    )
    .await;
    drop_bytes(&app, &session);
    let headers = [("content-range", "bytes 500-999/1000")];
    let put = app.rest(&ada).send(Method::PUT, &session.upload_url, &headers, bytes.slice(500..)).await;
    assert_eq!(put.reason(), refused(409, "UPLOAD_SESSION_CANCELED"));
}

/// Another writer has completed the document, and its job was deleted.
#[tokio::test]
async fn a_writer_whose_document_is_complete_and_freed_is_refused_because_it_is_complete() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(SIZE));
    let session = ada.create(&app.new_document().await, SIZE).await.expect("a session");
    let writer = stalled_writer(&app, &session, &ada).await;
    let answer = ada.send(&session, &bytes, 0..SIZE).await.expect("the whole document");
    assert_eq!(answer.state(), State::Completed);

    app.update_row("delete from fragment where session_id = $1", &session).await;
    drop_bytes(&app, &session);

    assert_eq!(refusal(writer).await, (Code::FailedPrecondition, "UPLOAD_SESSION_COMPLETED".into()));
}

/// As long as the session is active, the store is to blame.
#[tokio::test]
async fn a_writer_whose_bytes_vanish_under_an_active_session_hears_of_the_store() {
    let app = App::start().await;
    let mut ada = app.ada();
    let session = ada.create(&app.new_document().await, SIZE).await.expect("a session");
    let writer = stalled_writer(&app, &session, &ada).await;
    drop_bytes(&app, &session);
    assert_eq!(refusal(writer).await, (Code::Unavailable, "STORE_UNAVAILABLE".into()));
}

#[tokio::test]
async fn a_download_whose_job_is_deleted_meanwhile_ends_because_of_that_however_the_store_fails() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(20 << 20));
    for (is_deleted, code, reason) in
        [(true, Code::NotFound, "DOCUMENT_NOT_FOUND"), (false, Code::Unavailable, "STORE_UNAVAILABLE")]
    {
        let document = app.new_document().await;
        let session = ada.create(&document, bytes.len()).await.expect("a session");
        for start in [0, 10 << 20] {
            ada.send(&session, &bytes, start..start + (10 << 20)).await.expect("a half");
        }
        let request = DownloadPrintDocumentRequest { name: document, offset: 0 };
        let download = ada.client.documents.download_print_document(request).await.expect("a download");
        let mut download = download.into_inner();
        download.message().await.expect("a message").expect("the document");

        if is_deleted {
            let freed = sqlx::query("delete from fragment where session_id = $1::uuid").bind(&session.etag);
            assert_eq!(freed.execute(app.pool()).await.expect("freed").rows_affected(), 2);
        }
        // The store does not say that the objects are missing: each leads to itself.
        for file in app.files_of(&session) {
            let object = app.session_folder(&session).join(file);
            fs::remove_file(&object).expect("removed");
            symlink(&object, &object).expect("a loop");
        }

        let failed = loop {
            match download.message().await {
                Ok(message) => assert!(message.is_some(), "a part must not look like the whole document"),
                Err(status) => break status,
            }
        };
        assert_eq!(failed.code_and_reason(), (code, reason.into()));
    }
}
