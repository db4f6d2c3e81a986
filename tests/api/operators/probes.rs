//! Whether a program is alive, and whether it is ready.

use std::time::Duration;

use print_upload::store::MIGRATOR;
use tokio::time::timeout;

use super::watched;
use crate::harness::{App, Operator, Port, Program, RestActor, eventually, sample_bytes};

/// The default scrape timeout of Prometheus.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn without_its_database_it_is_alive_but_not_ready_and_scrapes_come_to_their_end() {
    let (mut app, mut proxy) = App::behind_proxy().await;
    app.stop().await;
    let (_program, operator) = watched(&mut app).await;
    let mut ada = app.ada();
    let session = ada.create(&app.new_document().await, 1000).await.expect("a session");

    proxy.stop().await;

    eventually("it is not ready", async || operator.probe("/readyz").await.0 == 503).await;
    let (_, why) = operator.probe("/readyz").await;
    assert!(why.starts_with("not ready: the database "), "{why}");
    assert_eq!(operator.probe("/healthz").await, (200, "ok".into()));
    let scrape = timeout(SCRAPE_TIMEOUT, operator.scrape()).await.expect("an answer before the timeout");
    assert_eq!(scrape.value("print_upload_database_up"), 0.0);
    assert!(scrape.value("print_upload_active_sessions").is_nan(), "the number is unknown");
    assert_eq!(scrape.value("print_upload_writers"), 0.0);
    let timeouts = r#"print_upload_database_timeouts_total{kind="connection"}"#;
    let before = scrape.value(timeouts);
    eventually("a call has waited in vain", async || {
        ada.delete(&session.name).await.expect_err("no database");
        operator.scrape().await.value(timeouts) > before
    })
    .await;

    proxy.restart().await;
    eventually("it is ready again", async || operator.probe("/readyz").await.0 == 200).await;
    eventually("it sees the database", async || operator.scrape().await.has("print_upload_database_up", 1.0)).await;
}

#[tokio::test]
async fn a_pool_that_is_in_use_to_its_end_is_no_outage_of_the_database() {
    let (mut app, document) = App::stopped().await;
    app.set_flag("database-connections", "2");
    let (_program, operator) = watched(&mut app).await;
    let mut ada = app.ada();
    let session = ada.create(&document, 1000).await.expect("a session");
    let mut held = app.pool().begin().await.expect("a transaction");
    let lock = "select from upload_session where session_id = $1::uuid for update";
    sqlx::query(lock).bind(&session.etag).fetch_one(&mut *held).await.expect("the session");

    let deletions = [ada.clone(), ada.clone(), ada].map(|mut ada| {
        let name = session.name.clone();
        tokio::spawn(async move { ada.delete(&name).await })
    });
    let in_use = r#"print_upload_database_connections{state="in_use"}"#;
    eventually("every connection waits for the lock", async || {
        let scrape = operator.scrape().await;
        let is_used_up = scrape.has(in_use, 2.0) && scrape.value("print_upload_active_sessions").is_nan();
        is_used_up && scrape.has("print_upload_database_up", 1.0)
    })
    .await;

    eventually("it is ready", async || operator.probe("/readyz").await == (200, "ready".into())).await;
    held.rollback().await.expect("the lock is released");
    let mut canceled = 0;
    for deletion in deletions {
        canceled += u32::from(deletion.await.expect("no panic").is_ok());
    }
    assert!(canceled > 0, "deletes that waited for the lock have run");
}

#[tokio::test]
async fn while_it_drains_it_is_alive_and_not_ready() {
    let (mut app, document) = App::stopped().await;
    app.set_flag("drain-timeout", "60s");
    let (program, operator) = watched(&mut app).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let (sender, answer) = ada.stall(&session, &bytes, 0..1000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;

    program.terminate();

    eventually("it is not ready", async || operator.probe("/readyz").await.0 == 503).await;
    assert_eq!(operator.probe("/readyz").await.1, "not ready: the service is stopping");
    assert_eq!(operator.probe("/healthz").await.0, 200);
    assert_eq!(operator.scrape().await.value("print_upload_writers"), 1.0);
    drop(sender);
    answer.await.expect("an answer").expect_err("a byte is missing");
    drop(ada);
    let (status, output) = program.wait_for_end().await;
    assert!(status.success() && output.contains("every call was answered"), "{output}");
}

#[tokio::test]
async fn before_it_closes_its_listeners_it_reports_that_it_is_not_ready() {
    let (mut app, document) = App::stopped().await;
    app.set_flag("shutdown-delay", "1h");
    let (program, operator) = watched(&mut app).await;
    let (_gateway, gateway) = Program::gateway(&[app.address], &["--shutdown-delay=1h"]).await;

    program.terminate();

    eventually("it is not ready", async || operator.probe("/readyz").await.0 == 503).await;
    let (status, output) = Program::run(&["healthcheck", "--server", &app.address.to_string()]).await;
    assert!(!status.success() && output.contains("NOT_SERVING"), "{output}");
    // On new connections, while a balancer has not noticed.
    app.ada().create(&document, 10).await.expect("a session over gRPC");
    assert_eq!(app.rest(&app.ada()).cancel(&document).await.status, 204);
    let answer = RestActor::new(gateway, None).get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    program.kill().await;
}

#[tokio::test]
async fn without_any_issuers_keys_it_is_not_ready() {
    let (mut app, _) = App::stopped().await;
    let nobody = Port::reserve();
    app.set_flag("issuer", &format!("http://{}", nobody.address));
    app.set_flag("admin-listen", "127.0.0.1:0");
    let program = Program::serve(&mut app).await;

    let operator = Operator::of(&program);

    let expected = "not ready: the keys of the token issuers have not been fetched yet";
    assert_eq!(operator.probe("/readyz").await, (503, expected.into()));
    let age = format!(r#"print_upload_issuer_keys_age_seconds{{issuer="http://{}"}}"#, nobody.address);
    assert_eq!(operator.scrape().await.value(&age), f64::INFINITY);
}

#[tokio::test]
async fn a_schema_of_a_rolling_update_does_not_take_the_old_replicas_out() {
    let (mut app, _) = App::stopped().await;
    let (program, operator) = watched(&mut app).await;
    let newest = "select max(version) from _sqlx_migrations";
    let newest: i64 = sqlx::query_scalar(newest).fetch_one(app.pool()).await.expect("a version");
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values ($1, 'newer', true, '', 0)";
    sqlx::query(newer).bind(newest + 1).execute(app.pool()).await.expect("a newer migration");
    eventually("it is ready", async || operator.probe("/readyz").await.0 == 200).await;
    program.terminate();
    program.wait_for_end().await;
    let (program, operator) = watched(&mut app).await;

    let older = "delete from _sqlx_migrations where version >= $1";
    sqlx::query(older).bind(newest).execute(app.pool()).await.expect("an older schema");
    let lacks =
        MIGRATOR.iter().map(|it| format!("{} ({})", it.version, it.description)).next_back().expect("a migration");
    let expected = (503, format!("not ready: the database lacks the migration {lacks}"));
    eventually("it is not ready", async || operator.probe("/readyz").await == expected).await;
    program.terminate();
    let (_, output) = program.wait_for_end().await;
    assert!(output.contains("the database has a newer schema than this program knows"), "{output}");
}

#[tokio::test]
async fn a_gateway_is_ready_while_a_service_behind_it_is() {
    let mut app = App::start().await;
    let (gateway, address) = Program::gateway(&[app.address], &["--admin-listen=127.0.0.1:0"]).await;
    let operator = Operator::of(&gateway);
    eventually("it is ready", async || operator.probe("/readyz").await == (200, "ready".into())).await;
    let nothing = RestActor::new(address, None).get("/v1.0/nothing").await;
    assert_eq!(nothing.status, 404);
    let unknown = r#"print_upload_rest_requests_total{method="GET",route="unknown",status="404"}"#;
    eventually("it is counted", async || operator.scrape().await.text().contains(unknown)).await;

    app.stop().await;
    eventually("it is not ready", async || operator.probe("/readyz").await.0 == 503).await;
    assert_eq!(operator.probe("/readyz").await.1, "not ready: no upstream reports that it serves");
    assert_eq!(operator.probe("/healthz").await.0, 200);
    app.run().await;
    eventually("it is ready again", async || operator.probe("/readyz").await.0 == 200).await;
}
