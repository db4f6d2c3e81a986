//! `print-upload tenant delete`.

use print_upload::proto::{
    Printer, Tenant, UploadSession, UpsertPrinterRequest, UpsertTenantRequest, print_job, upload_session::State,
};
use sqlx::AssertSqlSafe;
use tonic::Code;

use crate::harness::{App, ErrorExt, FOREIGN_TENANT, Program, TENANT, eventually, sample_bytes};

/// The exit code when the command has to be run again.
pub(super) const AGAIN: Option<i32> = Some(6);

/// Runs the command. Returns its exit code and its output.
pub(super) async fn delete(app: &App, flags: &[&str]) -> (Option<i32>, String) {
    let (tenant, database) = (TENANT.to_string(), format!("--database-url={}", app.database.url));
    let mut arguments = vec!["tenant", "delete", &tenant, &database];
    arguments.extend(flags);
    let (status, output) = Program::run(&arguments).await;
    (status.code(), output)
}

/// The tables that have a row of the tenant.
async fn tables_with_rows(app: &App) -> Vec<String> {
    let names = "select table_name::text from information_schema.columns
                 where table_schema = 'public' and column_name = 'tenant_id' order by 1";
    let names: Vec<String> = sqlx::query_scalar(names).fetch_all(app.pool()).await.expect("the tables");
    let mut found = Vec::new();
    for name in names {
        let exists = format!("select exists (select from {name} where tenant_id = $1)");
        let exists = sqlx::query_scalar(AssertSqlSafe(exists)).bind(TENANT).fetch_one(app.pool()).await;
        if exists.expect("an answer") {
            found.push(name);
        }
    }
    found
}

async fn push_tenant(app: &App, revision: i64) -> Tenant {
    let tenant = Tenant { name: format!("tenants/{TENANT}"), subscription_active: true, revision };
    let request = UpsertTenantRequest { tenant: Some(tenant) };
    app.catalog().client.catalog.upsert_tenant(request).await.expect("an answer").into_inner()
}

/// Makes every queued pass the last one, and waits for it.
pub(super) async fn finish_passes(app: &App) {
    eventually("no pass is left", async || {
        let last = "update reclaim set due_time = now(), final_time = now()";
        sqlx::query(last).execute(app.pool()).await.expect("an update");
        sqlx::query_scalar::<_, i64>("select count(*) from reclaim").fetch_one(app.pool()).await.expect("a number") == 0
    })
    .await;
}

/// Jobs and uploads of every kind. Returns the sessions, of which the first one is active.
pub(super) async fn fill(app: &App) -> Vec<UploadSession> {
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let mut sessions = Vec::new();
    for job in [ada.create_job("printers/p").await.expect("a job").document, app.new_document().await] {
        let session = ada.create(&job, 1000).await.expect("a session");
        ada.send(&session, &bytes, 0..400).await.expect("a range");
        sessions.push(session);
    }
    for job in [ada.create_job("printers/p").await.expect("a job").document, app.new_document().await] {
        let canceled = ada.create(&job, 1000).await.expect("a session");
        ada.delete(&canceled.name).await.expect("canceled");
        sessions.extend([canceled, ada.upload(&job, &bytes).await.expect("uploaded")]);
    }
    let deleted = app.new_document().await;
    sessions.push(ada.upload(&deleted, &bytes).await.expect("uploaded"));
    app.catalog().delete_job(&deleted, 2).await.expect("deleted");
    ada.create_job("shares/s").await.expect("a job without an upload");
    sessions
}

#[tokio::test]
async fn a_tenant_goes_with_its_rows_and_its_bytes_and_no_other_one() {
    let app = App::start().await;
    let bytes = sample_bytes(1000);
    let foreign = app.mallory().create_job("printers/p").await.expect("a job of the other tenant");
    app.mallory().upload(&foreign.document, &bytes).await.expect("uploaded");
    let sessions = fill(&app).await;
    let (_sender, stalled) = app.ada().stall(&sessions[0], &bytes, 400..1000);
    eventually("a writer is under way", async || app.files_of(&sessions[0]).len() == 2).await;
    let (code, output) = delete(&app, &[]).await;
    assert_eq!(code, Some(1));
    assert!(output.contains("add --yes"), "{output}");
    app.ada().get(&sessions[0].name).await.expect("nothing was changed");

    let (code, output) = delete(&app, &["--yes"]).await;

    assert_eq!(code, AGAIN, "{output}");
    for line in ["deleted 5 jobs", "7 uploads and 5 jobs are left", "then run this again"] {
        assert!(output.contains(line), "{line}: {output}");
    }
    let refused = stalled.await.expect("no panic").expect_err("its writer is stopped");
    assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    let refused = app.ada().create_job("printers/p").await.expect_err("no subscription");
    assert_eq!(refused.code_and_reason(), (Code::PermissionDenied, "SUBSCRIPTION_NOT_ACTIVE".into()));
    let held = app.ada().holder_of(&sessions[0]).get(&sessions[0].name).await.expect("its upload URL shows the end");
    assert_eq!(held.state(), State::Canceled);
    for session in &sessions {
        eventually("the bytes are gone", async || app.is_reclaimed(session)).await;
    }
    // Only the service's last passes let the rows go.
    assert_eq!(delete(&app, &["--yes"]).await.0, AGAIN);
    assert!(tables_with_rows(&app).await.contains(&"upload_session".to_owned()));
    finish_passes(&app).await;

    let (code, output) = delete(&app, &["--yes"]).await;

    assert_eq!(code, Some(0), "{output}");
    assert_eq!(tables_with_rows(&app).await, Vec::<String>::new());
    let kept = app.mallory().download(&foreign.document, 0).await.expect("the other tenant's");
    assert_eq!(kept.1, bytes);
    let (code, output) = delete(&app, &["--yes"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("there is no tenant"), "{output}");
}

#[tokio::test]
async fn the_catalog_cannot_bring_a_tenant_back_before_it_is_gone() {
    let app = App::start().await;
    fill(&app).await;
    assert_eq!(delete(&app, &["--yes"]).await.0, AGAIN);

    let stored = push_tenant(&app, i64::MAX).await;

    assert_eq!((stored.subscription_active, stored.revision), (false, 1), "nothing is changed");
    let printer = Some(Printer { name: format!("tenants/{TENANT}/printers/p"), revision: 9 });
    let request = UpsertPrinterRequest { printer };
    let refused = app.catalog().client.catalog.upsert_printer(request).await.expect_err("the tenant goes");
    assert_eq!(refused.code_and_reason(), (Code::NotFound, "PARENT_NOT_FOUND".into()));
    let late = app.new_document().await;
    finish_passes(&app).await;
    assert_eq!(delete(&app, &["--yes"]).await.0, Some(0), "what was pushed meanwhile goes as well: {late}");
    assert_eq!(tables_with_rows(&app).await, Vec::<String>::new());
    app.push_tenant(TENANT).await;
    let job = app.ada().create_job("printers/p").await.expect("the tenant is a new one");
    assert_eq!(job.state(), print_job::State::Paused);
    app.ada().upload(&job.document, &sample_bytes(1000)).await.expect("an upload");
    app.push_tenant(FOREIGN_TENANT).await;
}

/// A program of the version before does not know the mark.
#[tokio::test]
async fn a_tenant_that_is_being_deleted_has_no_subscription_even_if_an_older_program_gives_it_one() {
    let app = App::start().await;
    let mut ada = app.ada();
    let job = ada.create_job("printers/p").await.expect("a job");
    let session = ada.create(&job.document, 1000).await.expect("a session");
    let older = "update tenant set delete_time = now(), subscription_active = true where tenant_id = $1";
    sqlx::query(older).bind(TENANT).execute(app.pool()).await.expect("an update");

    for (call, answer) in [
        ("CreatePrintJob", ada.create_job("printers/p").await.map(drop)),
        ("GetPrintJob", ada.job(&job.name).await.map(drop)),
        ("GetUploadSession", ada.get(&session.name).await.map(drop)),
        ("DeleteUploadSession", ada.delete(&session.name).await.map(drop)),
    ] {
        let refused = answer.expect_err(call);
        assert_eq!(refused.code_and_reason(), (Code::PermissionDenied, "SUBSCRIPTION_NOT_ACTIVE".into()), "{call}");
    }
}

#[tokio::test]
async fn a_command_that_cannot_reach_the_database_is_to_be_run_again() {
    let (tenant, nobody) = (TENANT.to_string(), "--database-url=postgres://user:password@127.0.0.1:1/database");

    let (status, output) = Program::run(&["tenant", "delete", &tenant, "--yes", nobody]).await;

    assert_eq!(status.code(), AGAIN, "{output}");
    assert!(output.contains("run this again"), "{output}");
}
