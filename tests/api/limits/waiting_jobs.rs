//! How many jobs on a printer wait for their document at one time.

use super::{limit, limit_of};
use crate::harness::{App, sample_bytes};

async fn app() -> App {
    App::with([("limit-user-waiting-jobs", "2"), ("limit-printer-waiting-jobs", "3")]).await
}

#[tokio::test]
async fn a_user_and_a_printer_have_only_so_many_jobs_that_wait() {
    let app = app().await;
    let (mut ada, mut bob, mut carol) =
        (app.ada(), app.bob(), app.user(crate::harness::TENANT, "carol", &["PrintJob.Create", "Printer.Read.All"]));
    let job = ada.create_job("printers/p").await.expect("a job");
    ada.create_job("shares/s").await.expect("a second job on the same printer");
    assert_eq!(limit_of(&ada.create_job("printers/p").await.expect_err("a third")), limit("user-waiting-jobs", 2));
    bob.create_job("printers/p").await.expect("bob's first job");
    let refused = carol.create_job("printers/p").await.expect_err("the fourth on the printer");
    assert_eq!(limit_of(&refused), limit("printer-waiting-jobs", 3));

    ada.upload(&job.document, &sample_bytes(1000)).await.expect("the first job has its document");
    carol.create_job("printers/p").await.expect("there is room again");
    let refused = ada.create_job("printers/p").await.expect_err("the printer is full");
    assert_eq!(limit_of(&refused), limit("printer-waiting-jobs", 3));
}

#[tokio::test]
async fn canceling_a_job_or_its_upload_frees_its_place() {
    let app = app().await;
    let mut ada = app.ada();
    let first = ada.create_job("printers/p").await.expect("a job");
    let second = ada.create_job("printers/p").await.expect("a second job");
    let session = ada.create(&second.document, 1000).await.expect("it waits while it is uploaded");
    ada.create_job("printers/p").await.expect_err("a third");

    ada.cancel_job(&first.name).await.expect("canceled");
    let third = ada.create_job("printers/p").await.expect("in the place of the first");
    ada.create_job("printers/p").await.expect_err("a third");

    ada.delete(&session.name).await.expect("deleted");
    ada.create_job("printers/p").await.expect("in the place of the second");
    let refused = ada.create(&second.document, 1000).await.expect_err("the second would wait again");
    assert_eq!(limit_of(&refused), limit("user-waiting-jobs", 2));
    ada.create(&third.document, 1000).await.expect("the third waits already");
    ada.cancel_job(&third.name).await.expect("canceled");
    ada.create(&second.document, 1000).await.expect("there is room again");
}

#[tokio::test]
async fn an_expired_upload_and_an_old_job_do_not_wait() {
    let app = app().await;
    let mut ada = app.ada();
    let first = ada.create_job("printers/p").await.expect("a job");
    ada.create_job("printers/p").await.expect("a second job");
    let session = ada.create(&first.document, 1000).await.expect("a session");
    ada.create_job("printers/p").await.expect_err("a third");
    app.make_overdue(&session).await;
    crate::harness::eventually("the session has expired", async || ada.create_job("printers/p").await.is_ok()).await;

    // As long as a session lives at most.
    sqlx::raw_sql("update print_job set create_time = create_time - interval '24 hours'")
        .execute(app.pool())
        .await
        .expect("an update");
    for _ in 0..2 {
        ada.create_job("printers/p").await.expect("the old ones do not wait any more");
    }
    assert_eq!(limit_of(&ada.create_job("printers/p").await.expect_err("a third")), limit("user-waiting-jobs", 2));
}
