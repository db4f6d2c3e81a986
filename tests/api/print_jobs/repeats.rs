//! A caller that got no answer creates its job again under the same request id, and gets the same job.

use print_upload::proto::{CreatePrintJobRequest, PrintJob, print_job::State};
use tonic::{Code, Status};

use crate::harness::{Actor, App, ErrorExt, Rpc, TENANT, eventually, sample_bytes};

fn request(parent: &str, configuration: &str, request_id: &str) -> CreatePrintJobRequest {
    CreatePrintJobRequest { parent: parent.into(), configuration: configuration.into(), request_id: request_id.into() }
}

async fn create(caller: &mut Actor, parent: &str, request_id: &str) -> Result<PrintJob, Status> {
    caller.create_requested_job(request(parent, r#"{"copies":2}"#, request_id)).await
}

async fn count(app: &App) -> i64 {
    sqlx::query_scalar("select count(*) from print_job").fetch_one(app.pool()).await.expect("a count")
}

#[tokio::test]
async fn a_repeat_returns_the_job_as_it_is_now_and_creates_no_other() {
    let app = App::start().await;
    let mut ada = app.ada();
    let job = create(&mut ada, "printers/p", "once").await.expect("a job");
    for parent in ["printers/p", "shares/s", "printers/p"] {
        assert_eq!(create(&mut ada, parent, "once").await.expect("the job"), job, "{parent}");
    }

    ada.upload(&job.document, &sample_bytes(1000)).await.expect("the document");
    let uploaded = PrintJob { upload_pending: false, ..job };
    assert_eq!(create(&mut ada, "printers/p", "once").await.expect("the job"), uploaded);
    ada.start_job(&uploaded.name).await.expect("started");
    let started = PrintJob { state: State::Pending.into(), ..uploaded };
    assert_eq!(create(&mut ada, "printers/p", "once").await.expect("the job"), started);
    ada.cancel_job(&started.name).await.expect("canceled");
    let canceled = PrintJob { state: State::Canceled.into(), ..started };
    assert_eq!(create(&mut ada, "printers/p", "once").await.expect("the job"), canceled);
    assert_eq!(count(&app).await, 1);
}

#[tokio::test]
async fn another_id_caller_or_printer_is_another_job_and_so_is_every_request_without_an_id() {
    let app = App::start().await;
    let (mut ada, mut bob, mut mallory) = (app.ada(), app.bob(), app.mallory());
    let other_printer = format!("tenants/{TENANT}/printers/other");
    app.catalog().call(Rpc::UpsertPrinter, &other_printer).await.expect("another printer");
    let jobs = [
        create(&mut ada, "printers/p", "once").await,
        create(&mut ada, "printers/p", "Once").await,
        create(&mut ada, "printers/p", &"x".repeat(64)).await,
        create(&mut ada, "printers/other", "once").await,
        create(&mut bob, "printers/p", "once").await,
        create(&mut mallory, "printers/p", "once").await,
        create(&mut ada, "printers/p", "").await,
        create(&mut ada, "printers/p", "").await,
    ];
    let jobs = jobs.map(|job| job.expect("a job"));
    let mut documents: Vec<_> = jobs.iter().map(|job| job.document.rsplit('/').next()).collect();
    documents.sort();
    documents.dedup();
    assert_eq!((documents.len(), count(&app).await), (jobs.len(), jobs.len() as i64));
    assert_eq!(create(&mut bob, "printers/p", "once").await.expect("his job"), jobs[4]);
}

#[tokio::test]
async fn an_id_with_another_configuration_is_refused_and_changes_nothing() {
    let app = App::start().await;
    let mut ada = app.ada();
    let plain = ada.create_requested_job(request("printers/p", "", "plain")).await.expect("a job");
    let job = create(&mut ada, "printers/p", "once").await.expect("a job");
    let others = [
        ("plain", r#"{"copies":2}"#),
        ("plain", "{}"),
        ("once", ""),
        ("once", r#"{"copies":3}"#),
        // The text counts, not its meaning: a repeat sends the same bytes.
        ("once", r#"{"copies": 2}"#),
    ];
    for (id, configuration) in others {
        let refused = ada.create_requested_job(request("shares/s", configuration, id)).await.expect_err("another body");
        let expected = (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned());
        assert_eq!(refused.code_and_reason(), expected, "{id} {configuration}");
    }
    assert_eq!(ada.job(&plain.name).await.expect("the job"), plain);
    assert_eq!(ada.job(&job.name).await.expect("the job"), job);
    assert_eq!(count(&app).await, 2);
}

#[tokio::test]
async fn a_malformed_id_is_refused_and_nothing_is_created() {
    let app = App::start().await;
    let long = "x".repeat(65);
    for id in [" ", "two words", "tab\t", "line\n", "zero\0", "ü", "\u{7f}", &long] {
        let refused = create(&mut app.ada(), "printers/p", id).await.expect_err(id);
        assert_eq!(refused.bad_fields(), ["request_id"], "{id:?}");
    }
    assert_eq!(count(&app).await, 0);
}

#[tokio::test]
async fn a_repeat_after_the_jobs_deletion_is_refused_while_the_deletion_is_remembered() {
    let mut app = App::with([("tombstone-retention", "1h")]).await;
    let job = create(&mut app.ada(), "printers/p", "once").await.expect("a job");
    app.catalog().delete_job(&job.document, 0).await.expect("deleted");

    let refused = create(&mut app.ada(), "printers/p", "once").await.expect_err("deleted");

    assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "PRINT_JOB_DELETED".into()));
    assert_eq!(count(&app).await, 1);
    app.stop().await;
    let older = "update print_job set delete_time = delete_time - interval '90 minutes'";
    sqlx::query(older).execute(app.pool()).await.expect("an update");
    app.run().await;
    eventually("the deletion is forgotten", async || count(&app).await == 0).await;
    let new = create(&mut app.ada(), "printers/p", "once").await.expect("a new job");
    assert_ne!(new.document, job.document);
}
