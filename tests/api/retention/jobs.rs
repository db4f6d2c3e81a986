//! Jobs that were created here end, and go.

use std::time::Duration;

use print_upload::proto::{PrintJob, print_job::State};
use tokio::time::timeout;
use tonic::Code;

use super::{age, count, restart, state_of, sweep};
use crate::harness::{App, Database, ErrorExt, Program, eventually, sample_bytes};

async fn is_deleted(app: &App, job: &PrintJob) -> bool {
    match app.ada().job(&job.name).await {
        Ok(_) => false,
        Err(refused) => {
            assert_eq!(refused.code_and_reason(), (Code::NotFound, "PRINT_JOB_NOT_FOUND".into()));
            true
        }
    }
}

async fn deleted(app: &App, job: &PrintJob) {
    eventually("the job is deleted", async || is_deleted(app, job).await).await;
}

#[tokio::test]
async fn a_job_that_nobody_uploads_to_is_canceled_then_deleted_then_purged() {
    let mut app = App::start().await;
    let job = app.ada().create_job("printers/p").await.expect("a job");
    age(&app, &job, "2 days 23 hours").await;
    sweep(&mut app).await;
    assert_eq!(state_of(&app, &job).await, State::Paused, "by default three days");

    age(&app, &job, "2 hours").await;
    restart(&mut app).await;

    eventually("it is canceled", async || state_of(&app, &job).await == State::Canceled).await;
    let refused = app.ada().create(&job.document, 1000).await.expect_err("canceled");
    assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "PRINT_JOB_CANCELED".into()));
    age(&app, &job, "29 days").await;
    sweep(&mut app).await;
    assert_eq!(state_of(&app, &job).await, State::Canceled, "by default thirty days");
    age(&app, &job, "25 hours").await;
    restart(&mut app).await;
    deleted(&app, &job).await;

    let rows =
        "select count(*) from print_job where job_id not in (select job_id from print_job where delete_time is null)";
    assert_eq!(count(&app, rows).await, 1);
    age(&app, &job, "25 hours").await;
    restart(&mut app).await;
    eventually("its row is purged", async || count(&app, rows).await == 0).await;
}

#[tokio::test]
async fn a_canceled_job_goes_with_the_document_that_was_uploaded_before() {
    let mut app = App::with([("canceled-job-retention", "2h")]).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let job = ada.create_job("printers/p").await.expect("a job");
    let session = ada.upload(&job.document, &bytes).await.expect("uploaded");
    ada.start_job(&job.name).await.expect("started");
    ada.cancel_job(&job.name).await.expect("canceled");
    assert_eq!(ada.download(&job.document, 0).await.expect("it stays with its job").1, bytes);
    age(&app, &job, "1 hour").await;
    sweep(&mut app).await;
    assert_eq!(app.ada().download(&job.document, 0).await.expect("still there").1, bytes);

    age(&app, &job, "90 minutes").await;
    restart(&mut app).await;

    deleted(&app, &job).await;
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
    let trail = app.audit_of(&session).await;
    let freed = trail.last().expect("a row");
    assert_eq!((freed.action.as_str(), &freed.actor, freed.credential.as_str()), ("free", &None, "none"));
    assert_eq!(trail.len(), 3, "{trail:?}");
}

#[tokio::test]
async fn started_jobs_go_only_where_an_operator_has_set_a_time_and_never_before_they_were_started() {
    let mut app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let [started, waiting] = [ada.create_job("printers/p").await, ada.create_job("printers/p").await];
    let (started, waiting) = (started.expect("a job"), waiting.expect("a job"));
    let session = ada.upload(&started.document, &bytes).await.expect("uploaded");
    ada.upload(&waiting.document, &bytes).await.expect("uploaded");
    ada.start_job(&started.name).await.expect("started");
    for job in [&started, &waiting] {
        age(&app, job, "3000 days").await;
    }
    sweep(&mut app).await;
    assert_eq!((state_of(&app, &started).await, state_of(&app, &waiting).await), (State::Pending, State::Paused));

    app.set_flag("started-job-retention", "30d");
    for job in [&started, &waiting] {
        age(&app, job, "1 day").await;
    }
    restart(&mut app).await;

    deleted(&app, &started).await;
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
    sweep(&mut app).await;
    assert_eq!(state_of(&app, &waiting).await, State::Paused);
    assert_eq!(app.ada().download(&waiting.document, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn a_retention_that_is_shorter_than_a_period_of_a_limit_is_refused() {
    for (flags, option) in [
        ([("limits", "universal-print"), ("canceled-job-retention", "11d")], "--canceled-job-retention"),
        ([("limit-user-bytes", "1000/3d"), ("started-job-retention", "2d")], "--started-job-retention"),
    ] {
        let app = App::on(Database::create().await, flags);
        let flags: Vec<String> = app.flags().map(|(flag, value)| format!("--{flag}={value}")).collect();
        let mut arguments = vec!["serve", "--listen=127.0.0.1:0"];
        arguments.extend(flags.iter().map(String::as_str));
        // It would serve for ever.
        let ended = timeout(Duration::from_secs(60), Program::run(&arguments)).await;
        let (status, output) = ended.expect("it does not start");
        assert!(!status.success() && output.contains(&format!("{option} must not be shorter than")), "{output}");
    }
}
