//! What operators ask: is it alive, is it ready, and how much of everything is there.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path, time::Duration};

use tokio::{net::TcpListener, time::timeout};

use crate::{
    faults::behind_a_proxy,
    harness::{App, Program, RestActor, Rpc, call_raw, eventually, frame, sample_bytes},
};

/// When Prometheus gives a scrape up, unless it is told otherwise.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// The operators' side of a running program.
struct Operator(RestActor);

impl Operator {
    fn of(program: &Program) -> Self {
        Self::at(program.operators())
    }

    fn at(address: SocketAddr) -> Self {
        Self(RestActor::new(address, None))
    }

    /// The status of a probe, and what it says.
    async fn probe(&self, path: &str) -> (u16, String) {
        let answer = self.0.get(path).await;
        (answer.status, String::from_utf8_lossy(&answer.body).trim_end().to_owned())
    }

    async fn scrape(&self) -> Scrape {
        let answer = self.0.get("/metrics").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
        Scrape(String::from_utf8_lossy(&answer.body).into_owned())
    }
}

struct Scrape(String);

impl Scrape {
    /// The value of a series, as it is written.
    fn value(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{}", self.0)).parse().expect("a number")
    }

    /// Whether the series is there and has this value.
    fn has(&self, series: &str, value: f64) -> bool {
        self.0.lines().any(|line| line.strip_prefix(series).is_some_and(|shown| shown == format!(" {value}")))
    }

    fn names(&self) -> BTreeSet<String> {
        let types = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }
}

/// A program on the data of an app.
async fn watched(app: &mut App) -> (Program, Operator) {
    app.set_flag("admin-listen", "127.0.0.1:0");
    let program = Program::serve(app).await;
    let operator = Operator::of(&program);
    eventually("it is ready", async || operator.probe("/readyz").await.0 == 200).await;
    (program, operator)
}

async fn stopped_app() -> (App, String) {
    let mut app = App::start().await;
    let document = app.new_document().await;
    app.stop().await;
    (app, document)
}

fn delete(code: &str) -> String {
    format!(
        r#"print_upload_rpc_requests_total{{method="print.upload.v1.UploadSessions/DeleteUploadSession",code="{code}"}}"#
    )
}

#[tokio::test]
async fn a_canceled_upload_shows_in_the_metrics() {
    let (mut app, document) = stopped_app().await;
    let (_program, operator) = watched(&mut app).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(100_000));
    // Before the first call: a first failure is to be an increase.
    for code in ["OK", "DATA_LOSS", "INTERNAL", "UNAVAILABLE", "UNKNOWN"] {
        assert_eq!(operator.scrape().await.value(&delete(code)), 0.0, "{code}");
    }
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let (_still_held, stalled) = ada.stall(&session, &bytes, 0..100_000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;

    let during = operator.scrape().await;
    assert_eq!(during.value("print_upload_writers"), 1.0);
    assert_eq!(during.value("print_upload_active_sessions"), 1.0);
    assert_eq!(during.value("print_upload_database_up"), 1.0);
    assert_eq!(during.value("print_upload_reclaim_queue_sessions"), 0.0);
    let connections = |state| during.value(&format!(r#"print_upload_database_connections{{state="{state}"}}"#));
    assert!(connections("idle") + connections("in_use") >= 1.0, "it has asked its database");
    assert_eq!(during.value("print_upload_database_max_connections"), 8.0);
    let version = concat!(r#"print_upload_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#);
    assert_eq!(during.value(version), 1.0);

    app.bob().delete(&session.name).await.expect_err("it is not bob's");
    ada.delete(&session.name).await.expect("deleted");
    stalled.await.expect("an answer").expect_err("canceled");
    eventually("nothing is left", async || app.is_reclaimed(&session)).await;

    // The bytes may have gone with their writer, before the sweeper came.
    eventually("every call has been counted, and the pass", async || {
        let after = operator.scrape().await;
        let canceled =
            r#"print_upload_rpc_requests_total{method="print.upload.v1.UploadSessions/UploadRange",code="ABORTED"}"#;
        let counted =
            [canceled, &delete("OK"), &delete("PERMISSION_DENIED")].iter().all(|series| after.has(series, 1.0));
        let done = r#"print_upload_reclaim_passes_total{result="done"}"#;
        counted && after.has("print_upload_writers", 0.0) && after.value(done) >= 1.0
    })
    .await;
    let after = operator.scrape().await;
    assert_eq!(after.value("print_upload_cancel_duration_seconds_count"), 1.0);
    assert_eq!(after.value("print_upload_active_sessions"), 0.0);
    let received = r#"print_upload_rpc_received_bytes_total{method="print.upload.v1.UploadSessions/UploadRange"}"#;
    assert!(after.value(received) >= 99_999.0);
    let duration = r#"print_upload_rpc_duration_seconds_bucket{method="print.upload.v1.UploadSessions/DeleteUploadSession",le="+Inf"}"#;
    assert_eq!(after.value(duration), 2.0);
}

#[tokio::test]
async fn bytes_that_cannot_be_dropped_wait_in_the_queue_and_grow_old() {
    let (mut app, document) = stopped_app().await;
    let (_program, operator) = watched(&mut app).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..500).await.expect("a range");
    // A folder where a file should be: it cannot be removed, not even by root.
    let obstacle = app.session_folder(&session).join("obstacle");
    fs::create_dir_all(obstacle.join("inside")).expect("a folder");

    ada.delete(&session.name).await.expect("deleted");

    let failed = r#"print_upload_reclaim_passes_total{result="failed"}"#;
    eventually("a pass has failed, and the bytes have been waiting", async || {
        let scrape = operator.scrape().await;
        scrape.value(failed) >= 1.0
            && scrape.value("print_upload_reclaim_queue_sessions") == 1.0
            && scrape.value("print_upload_reclaim_oldest_age_seconds") > 0.0
    })
    .await;
    fs::remove_dir_all(&obstacle).expect("it is removed");
    eventually("the queue is empty", async || {
        let scrape = operator.scrape().await;
        scrape.value("print_upload_reclaim_queue_sessions") == 0.0
            && scrape.value("print_upload_reclaim_oldest_age_seconds") == 0.0
    })
    .await;
}

#[tokio::test]
async fn without_its_database_it_is_alive_but_not_ready_and_scrapes_come_to_their_end() {
    let (mut app, mut proxy) = behind_a_proxy().await;
    app.stop().await;
    let (_program, operator) = watched(&mut app).await;

    proxy.go_away().await;

    eventually("it is not ready", async || operator.probe("/readyz").await.0 == 503).await;
    let (_, why) = operator.probe("/readyz").await;
    assert!(why.starts_with("not ready: the database "), "{why}");
    assert_eq!(operator.probe("/healthz").await, (200, "ok".into()));
    let scrape = timeout(SCRAPE_TIMEOUT, operator.scrape()).await.expect("it waits for nothing that does not come");
    assert_eq!(scrape.value("print_upload_database_up"), 0.0);
    assert!(scrape.value("print_upload_active_sessions").is_nan(), "nobody knows");
    assert_eq!(scrape.value("print_upload_writers"), 0.0);

    proxy.come_back().await;
    eventually("it is ready again", async || operator.probe("/readyz").await.0 == 200).await;
    assert_eq!(operator.scrape().await.value("print_upload_database_up"), 1.0);
}

#[tokio::test]
async fn while_it_drains_it_is_alive_and_not_ready() {
    let (mut app, document) = stopped_app().await;
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
    let (status, said) = program.ended().await;
    assert!(status.success() && said.contains("every call was answered"), "{said}");
}

#[tokio::test]
async fn without_any_issuers_keys_it_is_not_ready() {
    let (mut app, _) = stopped_app().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    app.set_flag("issuer", &format!("http://{nobody}"));
    app.set_flag("admin-listen", "127.0.0.1:0");
    let program = Program::serve(&mut app).await;

    let operator = Operator::of(&program);

    let expected = "not ready: the keys of the token issuers are not there yet";
    assert_eq!(operator.probe("/readyz").await, (503, expected.into()));
    let age = format!(r#"print_upload_issuer_keys_age_seconds{{issuer="http://{nobody}"}}"#);
    assert_eq!(operator.scrape().await.value(&age), f64::INFINITY);
}

#[tokio::test]
async fn a_schema_of_a_rolling_update_does_not_take_the_old_replicas_out() {
    let (mut app, _) = stopped_app().await;
    let (_program, operator) = watched(&mut app).await;
    let newest = "select max(version) from _sqlx_migrations";
    let newest: i64 = sqlx::query_scalar(newest).fetch_one(app.pool()).await.expect("a version");
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values ($1, 'newer', true, '', 0)";
    sqlx::query(newer).bind(newest + 1).execute(app.pool()).await.expect("a newer migration");
    assert_eq!(operator.probe("/readyz").await.0, 200);

    let older = "delete from _sqlx_migrations where version >= $1";
    sqlx::query(older).bind(newest).execute(app.pool()).await.expect("an older schema");
    let expected = "not ready: the database does not have this program's schema";
    assert_eq!(operator.probe("/readyz").await, (503, expected.into()));
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
    eventually("it is counted", async || operator.scrape().await.0.contains(unknown)).await;

    app.stop().await;
    eventually("it is not ready", async || operator.probe("/readyz").await.0 == 503).await;
    assert_eq!(operator.probe("/readyz").await.1, "not ready: no upstream says that it serves");
    assert_eq!(operator.probe("/healthz").await.0, 200);
    app.run().await;
    eventually("it is ready again", async || operator.probe("/readyz").await.0 == 200).await;
}

#[tokio::test]
async fn what_callers_invent_is_no_label() {
    let (mut app, document) = stopped_app().await;
    let (_program, operator) = watched(&mut app).await;
    let nobody = app.rest_nobody();
    let names_of_series = |scrape: &Scrape| scrape.0.lines().filter(|line| !line.starts_with('#')).count();
    let invent = async |round: usize| {
        let brew = axum::http::Method::from_bytes(format!("BREW{round}").as_bytes()).expect("a method");
        nobody.send(brew, &format!("/print/{document}/uploadSession"), &[], "").await;
        nobody.get(&format!("/v1.0/print/printers/p{round}/jobs/j{round}")).await;
        nobody.get(&format!("/nothing/{round}")).await;
        let path = format!("/print.upload.v1.UploadSessions/Method{round}");
        call_raw(app.address, &path, &[], tokio_stream::once(frame(0, 0, b""))).await.expect_err("no such method");
    };
    invent(0).await;
    let unknown = r#"print_upload_rpc_requests_total{method="unknown",code="UNIMPLEMENTED"}"#;
    eventually("all of it is counted", async || operator.scrape().await.0.contains(unknown)).await;
    let before = names_of_series(&operator.scrape().await);

    for round in 1..20 {
        invent(round).await;
    }

    eventually("all of it is counted", async || operator.scrape().await.value(unknown) == 20.0).await;
    assert_eq!(names_of_series(&operator.scrape().await), before);
}

#[tokio::test]
async fn the_documentation_names_every_metric_and_no_other() {
    let (mut app, document) = stopped_app().await;
    let (_program, operator) = watched(&mut app).await;
    app.rest(&app.ada()).begin(&document, 1000).await;
    app.ada().call(Rpc::DeleteUploadSession, &format!("{document}/uploadSession")).await.expect("deleted");
    eventually("both are counted", async || operator.scrape().await.0.contains("print_upload_rest_requests")).await;

    let rows = documentation("operations.md");
    let rows = rows.lines().filter_map(|line| line.strip_prefix("| `print_upload_"));
    let documented = rows.filter_map(|row| row.split('`').next()).map(|name| format!("print_upload_{name}"));

    assert_eq!(documented.collect::<BTreeSet<_>>(), operator.scrape().await.names());
}

#[test]
fn alerts_are_about_metrics_that_are_documented_and_lead_into_the_runbook() {
    let (alerts, operations) = (documentation("alerts.yml"), documentation("operations.md"));
    let is_part_of_a_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let metrics = alerts.split(|letter| !is_part_of_a_name(letter)).filter(|word| word.starts_with("print_upload_"));
    for metric in metrics {
        let metric = metric.trim_end_matches("_bucket");
        assert!(operations.contains(&format!("\n| `{metric}` |")), "{metric}");
    }
    let runbooks: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")).collect();
    assert_eq!(runbooks.len(), alerts.matches("alert: ").count());
    for heading in runbooks {
        assert!(operations.contains(&format!("\n### {heading}\n")), "{heading}");
    }
}

fn documentation(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
