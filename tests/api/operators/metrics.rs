//! Metrics, their documentation, and the alerts on them.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use print_upload_client as client;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::watched;
use crate::harness::{App, Rpc, Scrape, call_raw, eventually, frame, sample_bytes};

fn delete(code: &str) -> String {
    format!(
        r#"print_upload_rpc_requests_total{{method="print.upload.v1.UploadSessions/DeleteUploadSession",code="{code}"}}"#
    )
}

#[tokio::test]
async fn a_canceled_upload_shows_in_the_metrics() {
    let (mut app, document) = App::stopped().await;
    let (_program, operator) = watched(&mut app).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(100_000));
    // The series exist before the first call, so that the first failure is an increase.
    for code in ["OK", "DATA_LOSS", "INTERNAL", "UNAVAILABLE", "UNKNOWN"] {
        assert_eq!(operator.scrape().await.value(&delete(code)), 0.0, "{code}");
    }
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let (_still_held, stalled) = ada.stall(&session, &bytes, 0..100_000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;

    let mut during = operator.scrape().await;
    eventually("the database has answered in time", async || {
        during = operator.scrape().await;
        during.has("print_upload_database_up", 1.0) && during.has("print_upload_active_sessions", 1.0)
    })
    .await;
    assert_eq!(during.value("print_upload_writers"), 1.0);
    assert!(during.value("print_upload_tasks") >= 1.0, "the writer's task has not ended");
    assert_eq!(during.value("print_upload_reclaim_queue_sessions"), 0.0);
    let connections = |state| during.value(&format!(r#"print_upload_database_connections{{state="{state}"}}"#));
    assert!(connections("idle") + connections("in_use") >= 1.0, "it has used its database");
    assert_eq!(during.value("print_upload_database_max_connections"), 8.0);
    for kind in ["connection", "batch"] {
        let waits = format!(r#"print_upload_database_wait_duration_seconds_count{{kind="{kind}"}}"#);
        assert!(during.value(&waits) >= 1.0, "{kind}");
    }
    assert!(during.value("process_open_fds") >= 10.0 && during.value("process_resident_memory_bytes") >= 1e7);
    let version = concat!(r#"print_upload_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#);
    assert_eq!(during.value(version), 1.0);

    app.bob().delete(&session.name).await.expect_err("it is not bob's");
    ada.delete(&session.name).await.expect("deleted");
    stalled.await.expect("an answer").expect_err("canceled");
    eventually("nothing is left", async || app.is_reclaimed(&session)).await;

    // The writer may have dropped its bytes itself, before the sweeper's pass.
    eventually("every call has been counted, and the pass", async || {
        let after = operator.scrape().await;
        let canceled =
            r#"print_upload_rpc_requests_total{method="print.upload.v1.UploadSessions/UploadRange",code="ABORTED"}"#;
        let counted =
            [canceled, &delete("OK"), &delete("PERMISSION_DENIED")].iter().all(|series| after.has(series, 1.0));
        let done = r#"print_upload_reclaim_passes_total{result="done"}"#;
        let has_ended = after.has("print_upload_writers", 0.0) && after.has("print_upload_active_sessions", 0.0);
        counted && has_ended && after.value(done) >= 1.0
    })
    .await;
    let after = operator.scrape().await;
    assert_eq!(after.value("print_upload_cancel_duration_seconds_count"), 1.0);
    let received = r#"print_upload_rpc_received_bytes_total{method="print.upload.v1.UploadSessions/UploadRange"}"#;
    assert!(after.value(received) >= 99_999.0);
    let duration = r#"print_upload_rpc_duration_seconds_bucket{method="print.upload.v1.UploadSessions/DeleteUploadSession",le="+Inf"}"#;
    assert_eq!(after.value(duration), 2.0);
}

/// A range is compared with its committed bytes, and the disk does not answer: a pipe without a writer takes the place
/// of the object. The caller hangs up, but a thread still waits for the disk.
#[tokio::test]
async fn a_range_that_waits_for_the_disk_holds_its_permit_also_when_its_caller_has_gone() {
    let (mut app, document) = App::stopped().await;
    app.set_flag("max-transfers", "4");
    let (_program, operator) = watched(&mut app).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..500).await.expect("a range");
    let object = app.session_folder(&session).join(&app.files_of(&session)[0]);
    fs::remove_file(&object).expect("it is removed");
    assert!(Command::new("mkfifo").arg(&object).status().expect("mkfifo").success());
    let held = r#"print_upload_transfers{kind="range"}"#;
    let refused = r#"print_upload_refused_transfers_total{kind="range",limit="caller"}"#;
    assert_eq!(operator.scrape().await.value(refused), 0.0);

    eventually("a thread waits for the disk, and the caller has gone", async || {
        let (mut sender, compared, repeated) = (ada.clone(), session.clone(), bytes.clone());
        let repeating = tokio::spawn(async move { sender.send_with_crc32c(&compared, &repeated, 0..500).await });
        eventually("it is being compared", async || operator.scrape().await.has("print_upload_writers", 1.0)).await;
        repeating.abort();
        eventually("the service has noticed that its caller has gone", async || {
            operator.scrape().await.has("print_upload_writers", 0.0)
        })
        .await;
        // If the caller was too fast, the comparison had not begun.
        operator.scrape().await.has(held, 1.0)
    })
    .await;

    ada.send(&session, &bytes, 500..600).await.expect_err("ada may have one permit");
    assert_eq!(operator.scrape().await.value(refused), 1.0);
    // The pipe gets a writer: the disk answers.
    drop(fs::OpenOptions::new().write(true).open(&object).expect("somebody reads"));
    eventually("the permit is returned", async || operator.scrape().await.has(held, 0.0)).await;
    ada.send(&session, &bytes, 500..600).await.expect("a range");
}

#[tokio::test]
async fn bytes_that_cannot_be_dropped_wait_in_the_queue_and_grow_old() {
    let (mut app, document) = App::stopped().await;
    let (_program, operator) = watched(&mut app).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..500).await.expect("a range");
    // A folder in place of a file. Even root cannot remove it as a file.
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
async fn who_watches_the_health_is_counted_and_not_timed() {
    let (mut app, _) = App::stopped().await;
    let (_program, operator) = watched(&mut app).await;
    let upstream = client::connect(&[format!("http://{}", app.address)], None).expect("an address");
    let watch = HealthClient::new(upstream).watch(HealthCheckRequest::default()).await.expect("it serves");
    watch.into_inner().message().await.expect("a message").expect("a status");

    let counted = r#"print_upload_rpc_requests_total{method="grpc.health.v1.Health/Watch",code="CANCELLED"}"#;
    eventually("it has hung up", async || operator.scrape().await.has(counted, 1.0)).await;

    let timed = r#"print_upload_rpc_duration_seconds_count{method="grpc.health.v1.Health/"#;
    let scrape = operator.scrape().await;
    let timed: Vec<&str> = scrape.text().lines().filter(|line| line.starts_with(timed)).collect();
    assert!(timed.len() == 1 && timed[0].contains("Check"), "{timed:?}");
}

#[tokio::test]
async fn what_callers_invent_is_no_label() {
    let (mut app, document) = App::stopped().await;
    let (_program, operator) = watched(&mut app).await;
    let nobody = app.anonymous_rest();
    let names_of_series = |scrape: &Scrape| scrape.text().lines().filter(|line| !line.starts_with('#')).count();
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
    eventually("all of it is counted", async || operator.scrape().await.text().contains(unknown)).await;
    let before = names_of_series(&operator.scrape().await);

    for round in 1..20 {
        invent(round).await;
    }

    eventually("all of it is counted", async || operator.scrape().await.value(unknown) == 20.0).await;
    assert_eq!(names_of_series(&operator.scrape().await), before);
}

#[tokio::test]
async fn the_documentation_names_every_metric_and_no_other() {
    let (mut app, document) = App::stopped().await;
    let (_program, operator) = watched(&mut app).await;
    app.rest(&app.ada()).begin(&document, 1000).await;
    app.ada().call(Rpc::DeleteUploadSession, &format!("{document}/uploadSession")).await.expect("deleted");
    eventually("both are counted", async || operator.scrape().await.text().contains("print_upload_rest_requests"))
        .await;

    let operations = documentation("operations.md");
    let first_cells = operations.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let names = first_cells.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`').to_owned());
    let documented = names.filter(|name| name.starts_with("print_upload_") || name.starts_with("process_"));

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
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(operations.contains(&format!("`{alert}`")), "{alert}");
    }
    for heading in runbooks {
        assert!(operations.contains(&format!("\n### {heading}\n")), "{heading}");
    }
}

fn documentation(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
