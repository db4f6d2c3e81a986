//! Crashes while old jobs and old audit rows go, and while a tenant is deleted.

use print_upload::proto::{PrintJob, UploadSession, print_job::State};
use sqlx::AssertSqlSafe;

use super::crash::{Crash, SIZE};
use crate::harness::{Bucket, Program, TENANT, eventually, sample_bytes};

/// One job was never used, another one was uploaded and canceled.
pub async fn sweep_jobs(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (mut ada, bytes) = (crash.app.ada(), sample_bytes(SIZE));
    let unused = ada.create_job("printers/p").await.expect("a job");
    let (canceled, session) = uploaded_job(&crash).await;
    ada.cancel_job(&canceled.name).await.expect("canceled");
    let (kept, _) = uploaded_job(&crash).await;

    let age = "update print_job set create_time = create_time - interval '31 days',
                   cancel_time = cancel_time - interval '31 days', sweep_time = now()";
    crash.at_start_after(&[age]).await;

    eventually("the unused one is canceled", async || {
        crash.app.ada().job(&unused.name).await.expect("it stays").state() == State::Canceled
    })
    .await;
    eventually("the canceled one is deleted", async || crash.app.ada().job(&canceled.name).await.is_err()).await;
    crash.no_bytes_of(&session).await;
    assert_eq!(crash.app.actions_on(&session).await, ["create", "complete", "free"]);
    crash.assert_downloads(&kept.document, &bytes).await;
    crash.assert_clean().await;
}

async fn uploaded_job(crash: &Crash) -> (PrintJob, UploadSession) {
    let job = crash.app.ada().create_job("printers/p").await.expect("a job");
    let session = crash.app.ada().upload(&job.document, &sample_bytes(SIZE)).await.expect("uploaded");
    (job, session)
}

pub async fn add_months(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;

    let drop = "do $$ declare t text; begin
                    for t in select name from audit_tables() where from_time is not null loop
                        execute format('drop table %I', t);
                    end loop;
                end $$";
    crash.at_start_after(&[drop]).await;

    let made = "select count(*) from audit_tables() where from_time >= audit_month(1)";
    eventually("the months are made", async || crash.count(made).await >= 2).await;
    cancel_leaves_a_trail(crash).await;
}

pub async fn drop_audit(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;

    let make = "create table audit_2020_01 partition of audit for values from ('2020-01-01') to ('2020-02-01')";
    crash.at_start_after(&["drop table audit_before", make]).await;

    let old = "select count(*) from audit_tables() where name = 'audit_2020_01'";
    eventually("the old month is gone", async || crash.count(old).await == 0).await;
    cancel_leaves_a_trail(crash).await;
}

async fn cancel_leaves_a_trail(crash: Crash) {
    let (session, _) = crash.begun_session().await;
    crash.app.ada().delete(&session.name).await.expect("canceled");
    assert_eq!(crash.app.actions_on(&session).await, ["create", "cancel"]);
    crash.assert_clean().await;
}

/// The service runs beside the command.
pub async fn delete_tenant(crash_at: &'static str, bucket: Bucket) {
    let crash = with_sessions(crash_at, bucket).await;

    crash.in_command(&arguments(&crash).each_ref().map(String::as_str)).await;

    crash.app.ada().create_job("printers/p").await.expect_err("no subscription");
    delete_completely(&crash).await;
    crash.assert_clean().await;
}

/// The service has finished with the bytes.
pub async fn finish_deleting_a_tenant(crash_at: &'static str, bucket: Bucket) {
    let crash = with_sessions(crash_at, bucket).await;
    let (status, output) = Program::run(&arguments(&crash).each_ref().map(String::as_str)).await;
    assert_eq!(status.code(), Some(6), "{output}");
    finish_passes(&crash).await;

    crash.in_command(&arguments(&crash).each_ref().map(String::as_str)).await;

    delete_completely(&crash).await;
    crash.assert_clean().await;
}

/// An active, a canceled and a completed session.
async fn with_sessions(crash_at: &'static str, bucket: Bucket) -> Crash {
    let crash = Crash::at(crash_at, bucket).await;
    crash.begun_session().await;
    let (canceled, _) = crash.begun_session().await;
    crash.app.ada().delete(&canceled.name).await.expect("canceled");
    uploaded_job(&crash).await;
    crash
}

fn arguments(crash: &Crash) -> [String; 5] {
    let database = format!("--database-url={}", crash.app.database.url);
    ["tenant".into(), "delete".into(), TENANT.to_string(), database, "--yes".into()]
}

async fn finish_passes(crash: &Crash) {
    eventually("no pass is left", async || {
        crash.make_passes_last().await;
        crash.count("select count(*) from reclaim").await == 0
    })
    .await;
}

/// Repeats the command until nothing is left of the tenant.
async fn delete_completely(crash: &Crash) {
    for _ in 0..3 {
        finish_passes(crash).await;
        let (status, output) = Program::run(&arguments(crash).each_ref().map(String::as_str)).await;
        if status.success() {
            break;
        }
        assert_eq!(status.code(), Some(6), "{output}");
    }
    for table in ["tenant", "printer", "print_job", "print_document", "upload_session", "fragment", "audit"] {
        let rows = format!("select count(*) from {table} where tenant_id = $1");
        let rows: i64 =
            sqlx::query_scalar(AssertSqlSafe(rows)).bind(TENANT).fetch_one(crash.app.pool()).await.expect("a number");
        assert_eq!(rows, 0, "{table}");
    }
}
