//! Crashes while a job is created, started, canceled or deleted.

use print_upload::proto::{CreatePrintJobRequest, print_job, upload_session::State};

use super::crash::{Crash, SIZE};
use crate::harness::{App, Bucket, sample_bytes};

/// The points at which the transaction is not committed.
const ROLLED_BACK: [&str; 4] =
    ["end.executed", "job_cancel.before_commit", "job_delete.before_commit", "job_delete.freed"];

pub async fn create(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;

    let request =
        CreatePrintJobRequest { parent: "printers/p".into(), request_id: "once".into(), ..Default::default() };
    let create = async |app: &App| app.ada().create_requested_job(request.clone()).await;
    crash.during(async |app, _| create(app).await).await.expect_err("no answer");

    let halves = "select count(*) from print_job
                  full join print_document using (tenant_id, printer_id, job_id)
                  where created_by is null or document_id is null";
    assert_eq!(crash.count("select count(*) from print_job").await, 1);
    assert_eq!(crash.count(halves).await, 0);
    let repeated = create(&crash.app).await.expect("the job that the crashed program created");
    assert_eq!(crash.count("select count(*) from print_job").await, 1);
    crash.upload_again(&repeated.document, &sample_bytes(SIZE)).await;
    let (job, bytes) = (crash.app.ada().create_job("printers/p").await.expect("another job"), sample_bytes(SIZE));
    crash.upload_again(&job.document, &bytes).await;
    crash.assert_clean().await;
}

pub async fn start(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (mut ada, bytes) = (crash.app.ada(), sample_bytes(SIZE));
    let job = ada.create_job("printers/p").await.expect("a job");
    ada.upload(&job.document, &bytes).await.expect("uploaded");

    crash.during(async |app, _| app.ada().start_job(&job.name).await).await.expect_err("no answer");

    let seen = crash.app.ada().job(&job.name).await.expect("the job");
    assert_eq!(seen.state(), print_job::State::Pending);
    assert_eq!(crash.app.ada().start_job(&job.name).await.expect("started, now or before"), seen);
    crash.assert_downloads(&job.document, &bytes).await;
    crash.assert_clean().await;
}

/// The job has an active session.
pub async fn cancel(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (mut ada, bytes) = (crash.app.ada(), sample_bytes(SIZE));
    let job = ada.create_job("printers/p").await.expect("a job");
    let session = ada.create(&job.document, SIZE).await.expect("a session");
    ada.send(&session, &bytes, 0..SIZE / 2).await.expect("acknowledged");

    let _answer = crash.during(async |app, _| app.ada().cancel_job(&job.name).await).await;

    let mut ada = crash.app.ada();
    let is_canceled = ada.job(&job.name).await.expect("the job").state() == print_job::State::Canceled;
    assert_eq!(is_canceled, !crash.is_at(&ROLLED_BACK));
    let state = if is_canceled { State::Canceled } else { State::Active };
    assert_eq!(crash.state_of(&session).await, state, "both or none");
    ada.cancel_job(&job.name).await.expect("canceled, now or before");
    assert_eq!(crash.state_of(&session).await, State::Canceled);
    crash.no_bytes_of(&session).await;
    assert_eq!(crash.app.actions_on(&session).await, ["create", "cancel"]);
    crash.assert_clean().await;
}

/// The job has an active session.
pub async fn delete(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;

    let _answer = crash.during(async |app, _| app.catalog().delete_job(&session.document, 2).await).await;

    let deleted = crash.count("select count(*) from print_job where delete_time is not null").await;
    assert_eq!(deleted, i64::from(!crash.is_at(&ROLLED_BACK)));
    let sent = crash.app.ada().send(&session, &bytes, SIZE / 3..SIZE / 2).await;
    assert_eq!(sent.is_ok(), deleted == 0, "both or none");
    crash.app.catalog().delete_job(&session.document, 2).await.expect("deleted, now or before");
    crash.no_bytes_of(&session).await;
    assert_eq!(crash.app.actions_on(&session).await, ["create", "cancel"]);
    crash.assert_clean().await;
}

/// The job's document is uploaded.
pub async fn delete_uploaded(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (document, bytes) = (crash.app.new_document().await, sample_bytes(SIZE));
    let session = crash.app.ada().upload(&document, &bytes).await.expect("uploaded");

    let _answer = crash.during(async |app, _| app.catalog().delete_job(&document, 2).await).await;

    if crash.is_at(&ROLLED_BACK) {
        crash.assert_downloads(&document, &bytes).await;
    }
    crash.app.catalog().delete_job(&document, 2).await.expect("deleted, now or before");
    crash.app.ada().download(&document, 0).await.expect_err("deleted");
    crash.no_bytes_of(&session).await;
    assert_eq!(crash.app.actions_on(&session).await, ["create", "complete", "free"]);
    crash.assert_clean().await;
}
