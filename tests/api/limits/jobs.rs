//! How many jobs are created in a period, on a printer and by a user.

use print_upload::proto::CreatePrintJobRequest;
use serde_json::json;

use super::{limit, limit_of};
use crate::harness::{Actor, App, ErrorExt, Rpc, TENANT, job_of};

/// Moves the creation of every job into the past.
async fn age_jobs(app: &App, by: &str) {
    let age = "update print_job set create_time = create_time - $1::text::interval";
    sqlx::query(age).bind(by).execute(app.pool()).await.expect("an update");
}

async fn create_jobs(caller: &mut Actor, count: usize) {
    for _ in 0..count {
        caller.create_job("printers/p").await.expect("a job");
    }
}

#[tokio::test]
async fn one_job_more_on_a_printer_is_refused_until_the_first_leaves_the_window() {
    let app = App::with([("limit-printer-jobs", "3/10m")]).await;
    let (mut ada, mut bob) = (app.ada(), app.bob());
    create_jobs(&mut ada, 2).await;
    bob.create_job("shares/s").await.expect("a job on the same printer");

    for queue in ["printers/p", "shares/s"] {
        let refused = bob.create_job(queue).await.expect_err("a fourth job");
        assert_eq!(limit_of(&refused), limit("printer-jobs", 3));
        assert_eq!(refused.metadata_of("window_seconds").as_deref(), Some("600"));
        assert_eq!(
            refused.retry_delay().map(|wait| wait.as_secs()),
            Some(300),
            "no longer, although it is ten minutes"
        );
    }
    let answer = app.rest(&ada).post("/v1.0/print/printers/p/jobs").await;
    assert_eq!(answer.refusal(), (429, "activityLimitReached".into(), "LIMIT_REACHED".into()));
    assert_eq!(answer.header("retry-after"), "300");
    let inner = &answer.json()["error"]["innerError"];
    assert_eq!(
        (&inner["limit"], &inner["max"], &inner["windowSeconds"]),
        (&json!("printer-jobs"), &json!("3"), &json!("600"))
    );

    let other = format!("tenants/{TENANT}/printers/other");
    app.catalog().call(Rpc::UpsertPrinter, &other).await.expect("another printer");
    bob.create_job("printers/other").await.expect("a job on another printer");
    app.mallory().create_job("printers/p").await.expect("a job on another tenant's printer");

    age_jobs(&app, "9 minutes").await;
    let refused = ada.create_job("printers/p").await.expect_err("nine minutes are no ten");
    assert!(refused.retry_delay().is_some_and(|wait| wait.as_secs() <= 60), "{refused:?}");
    age_jobs(&app, "1 minute").await;
    create_jobs(&mut ada, 3).await;
    assert_eq!(limit_of(&ada.create_job("printers/p").await.expect_err("a fourth job")), limit("printer-jobs", 3));
}

#[tokio::test]
async fn a_user_has_limits_on_all_printers_together_in_a_short_and_a_long_period() {
    let app = App::with([("limit-user-jobs", "2/10m"), ("limit-user-jobs-long", "3/12d")]).await;
    let (mut ada, mut bob) = (app.ada(), app.bob());
    let other = format!("tenants/{TENANT}/printers/other");
    app.catalog().call(Rpc::UpsertPrinter, &other).await.expect("another printer");
    ada.create_job("printers/p").await.expect("a job");
    ada.create_job("printers/other").await.expect("a job");
    assert_eq!(limit_of(&ada.create_job("printers/p").await.expect_err("a third job")), limit("user-jobs", 2));
    create_jobs(&mut bob, 2).await;

    age_jobs(&app, "10 minutes").await;
    ada.create_job("printers/p").await.expect("a third job, later");
    let refused = ada.create_job("printers/other").await.expect_err("a fourth job");
    assert_eq!(limit_of(&refused), limit("user-jobs-long", 3));
    age_jobs(&app, "12 days").await;
    create_jobs(&mut ada, 2).await;
}

#[tokio::test]
async fn canceling_a_job_does_not_make_it_uncreated() {
    let app = App::with([("limit-user-jobs", "1/10m")]).await;
    let mut ada = app.ada();
    let job = ada.create_job("printers/p").await.expect("a job");
    ada.cancel_job(&job.name).await.expect("canceled");
    assert_eq!(limit_of(&ada.create_job("printers/p").await.expect_err("a second job")), limit("user-jobs", 1));
}

#[tokio::test]
async fn a_repeated_request_gets_its_job_although_a_limit_is_reached() {
    let app = App::with([("limit-user-jobs", "1/10m"), ("limit-printer-waiting-jobs", "1")]).await;
    let mut ada = app.ada();
    let request =
        |id: &str| CreatePrintJobRequest { parent: "printers/p".into(), request_id: id.into(), ..Default::default() };
    let job = ada.create_requested_job(request("once")).await.expect("a job");
    assert_eq!(ada.create_requested_job(request("once")).await.expect("the same job"), job);
    let refused = ada.create_requested_job(request("twice")).await.expect_err("another job");
    assert_eq!(limit_of(&refused), limit("user-jobs", 1));
}

#[tokio::test]
async fn what_the_catalog_pushes_is_never_refused_and_never_counted() {
    let flags = [
        ("limit-printer-jobs", "1/10m"),
        ("limit-user-jobs", "1/10m"),
        ("limit-printer-waiting-jobs", "1"),
        ("limit-requests", "5"),
    ];
    let app = App::with(flags).await;
    let mut catalog = app.catalog();
    let mut documents = Vec::new();
    for _ in 0..10 {
        documents.push(app.new_document().await);
    }
    let mut ada = app.ada();
    ada.create_job("printers/p").await.expect("ada's first job");
    assert_eq!(limit_of(&ada.create_job("printers/p").await.expect_err("her second")), limit("user-jobs", 1));

    for document in documents {
        for rpc in [Rpc::UpsertPrinter, Rpc::UpsertPrinterShare] {
            catalog.call(rpc, &rpc.catalog_entry(TENANT)).await.expect("an entry");
        }
        catalog.delete_job(&document, 2).await.unwrap_or_else(|error| panic!("{}: {error}", job_of(&document)));
    }
    let document = app.new_document().await;
    ada.create(&document, 1000).await.expect("the catalog's jobs do not wait for their documents here");
}
