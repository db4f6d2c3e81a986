//! The database is lost while a print job is canceled.

use std::time::Duration;

use print_upload::proto::{
    PrintJob, UploadRangeResponse, UploadSession, print_job,
    upload_session::{EndReason, State},
};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::{
    database::assert_unavailable,
    harness::{Actor, App, Cut, ErrorExt, Stalled, eventually, sample_bytes},
};

/// The last statement of a cancel.
const COMMIT: &[u8] = b"COMMIT";

/// A job with a writer under way that has not sent its last byte.
async fn stalled_upload(app: &App, ada: &mut Actor) -> (PrintJob, UploadSession, Stalled) {
    let job = ada.create_job("printers/p").await.expect("a job");
    let session = ada.create(&job.document, 1000).await.expect("a session");
    let stalled = ada.stall(&session, &sample_bytes(1000), 0..1000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;
    (job, session, stalled)
}

/// The writer is notified that its upload is canceled. Without a notification it would wait until the range times out.
async fn assert_notified(answer: JoinHandle<Result<UploadRangeResponse, Status>>) {
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.expect("the writer is notified");
    let refused = answer.expect("an answer").expect_err("canceled");
    assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
}

#[tokio::test]
async fn the_writers_of_a_canceled_job_are_notified_by_the_cancel_itself() {
    let (app, mut proxy) = App::behind_proxy().await;
    let mut ada = app.ada();
    let (job, _, (_still_held, answer)) = stalled_upload(&app, &mut ada).await;

    ada.cancel_job(&job.name).await.expect("canceled");
    // From now on the service cannot read the state of the session.
    proxy.stop().await;

    assert_notified(answer).await;
}

#[tokio::test]
async fn a_cancel_whose_commit_was_never_answered_has_happened() {
    let (app, proxy) = App::behind_proxy().await;
    let mut ada = app.ada();
    let (job, session, (_still_held, answer)) = stalled_upload(&app, &mut ada).await;

    proxy.arm(COMMIT, Cut::BeforeTheAnswer);
    assert_unavailable("CancelPrintJob", ada.cancel_job(&job.name).await);
    assert!(!proxy.is_armed(), "the connection was cut");

    assert_eq!(ada.job(&job.name).await.expect("the job").state(), print_job::State::Canceled);
    ada.cancel_job(&job.name).await.expect("canceled before");
    assert_eq!(ada.get(&session.name).await.expect("the tombstone").end_reason(), EndReason::PrintJobCanceled);
    assert_eq!(app.actions_on(&session).await, ["create", "cancel"]);
    // The cancel got no answer with the session. The service finds out by itself that it has ended.
    assert_notified(answer).await;
    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
}

#[tokio::test]
async fn a_cancel_that_was_never_committed_has_not_happened() {
    let (app, proxy) = App::behind_proxy().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let job = ada.create_job("printers/p").await.expect("a job");
    let session = ada.create(&job.document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..400).await.expect("a range");

    proxy.arm(COMMIT, Cut::BeforeTheStatement);
    assert_unavailable("CancelPrintJob", ada.cancel_job(&job.name).await);
    assert!(!proxy.is_armed(), "the connection was cut");

    assert_eq!(ada.job(&job.name).await.expect("the job"), job);
    assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Active);
    ada.send(&session, &bytes, 400..1000).await.expect("the rest");
    assert_eq!(ada.start_job(&job.name).await.expect("started").state(), print_job::State::Pending);
    assert_eq!(app.actions_on(&session).await, ["create", "complete"]);
}
