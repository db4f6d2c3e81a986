//! `serve` as a process: killed, stopped, misconfigured. And the commands that prepare its database.

use std::time::Duration;

use print_upload::proto::{UploadRangeRequest, upload_range_request::Content, upload_session::State};
use sqlx::{AssertSqlSafe, ConnectOptions, postgres::PgConnectOptions};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use crate::harness::{App, CATALOG_CLIENT, ErrorExt, Program, TENANT, eventually, issuer, sample_bytes};

#[tokio::test]
async fn a_crash_in_the_middle_of_an_upload_loses_nothing_that_was_acknowledged() {
    let (mut app, document) = App::stopped().await;
    let bytes = sample_bytes(2_000_000);
    let program = Program::serve(&mut app).await;
    let mut ada = app.ada();
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    for range in [1_000_000..1_500_000, 0..500_000] {
        ada.send(&session, &bytes, range).await.expect("acknowledged");
    }
    let (_still_held, stalled) = ada.stall(&session, &bytes, 500_000..1_000_000);
    eventually("a writer is under way", async || app.files_of(&session).len() == 3).await;

    program.kill().await;
    let cut = stalled.await.expect("an answer").expect_err("killed");
    assert!(matches!(cut.code(), Code::Unavailable | Code::Unknown | Code::Internal), "{cut:?}");

    let _program = Program::serve(&mut app).await;
    let mut ada = app.ada();
    let seen = ada.get(&session.name).await.expect("the session");
    assert_eq!((seen.state(), seen.received_bytes), (State::Active, 1_000_000));
    for range in [500_000..1_000_000, 1_500_000..2_000_000] {
        ada.send(&session, &bytes, range).await.expect("the upload goes on");
    }
    assert!(ada.download(&document, 0).await.expect("a download").1 == bytes);

    app.make_reclaim_last(&session).await;
    eventually("what the crash left is cleaned up", async || app.reclaim_job(&session).await.is_none()).await;
    assert_eq!(app.files_of(&session).len(), 4);
    assert!(ada.download(&document, 0).await.expect("a download").1 == bytes);
}

#[tokio::test]
async fn a_crash_right_after_a_delete_brings_nothing_back() {
    let (mut app, document) = App::stopped().await;
    let bytes = sample_bytes(2000);
    for _ in 0..5 {
        let program = Program::serve(&mut app).await;
        let mut ada = app.ada();
        let session = ada.create(&document, bytes.len()).await.expect("a session");
        ada.send(&session, &bytes, 0..1000).await.expect("a range");
        let (_still_held, _stalled) = ada.stall(&session, &bytes, 1000..2000);
        eventually("a writer is under way", async || app.files_of(&session).len() == 2).await;

        ada.delete(&session.name).await.expect("deleted");
        program.kill().await;

        let program = Program::serve(&mut app).await;
        let mut ada = app.ada();
        assert_eq!(ada.get(&session.name).await.expect("the tombstone").state(), State::Canceled);
        let late = ada.send(&session, &bytes, 1000..2000).await.expect_err("a late range");
        assert_eq!(late.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
        eventually("nothing is left", async || app.is_reclaimed(&session)).await;
        program.kill().await;
    }
}

#[tokio::test]
async fn asked_to_stop_it_completes_the_call_under_way_first() {
    let (mut app, document) = App::stopped().await;
    app.set_flag("drain-timeout", "60s");
    let program = Program::serve(&mut app).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let (sender, answer) = ada.stall(&session, &bytes, 0..1000);
    eventually("a writer is under way", async || app.files_of(&session).len() == 1).await;

    program.terminate();
    eventually("no new connection is accepted", async || TcpStream::connect(app.address).await.is_err()).await;
    let last_byte = UploadRangeRequest { content: Some(Content::Chunk(bytes.slice(999..))) };
    sender.send(last_byte).await.expect("the service still reads");
    drop(sender);

    let answer = answer.await.expect("an answer").expect("acknowledged");
    assert_eq!(answer.state(), State::Completed);
    drop(ada);
    let (status, output) = program.wait_for_end().await;
    assert!(status.success(), "{status}");
    assert!(output.contains("stopped: every call was answered"), "{output}");
}

#[tokio::test]
async fn asked_to_stop_it_does_not_wait_for_ever() {
    let (mut app, document) = App::stopped().await;
    app.set_flag("drain-timeout", "200ms");
    let program = Program::serve(&mut app).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let (_still_held, answer) = ada.stall(&session, &bytes, 0..1000);
    eventually("a writer is under way", async || app.files_of(&session).len() == 1).await;

    program.terminate();

    let (status, output) = program.wait_for_end().await;
    assert!(status.success(), "{status}");
    assert!(output.contains("stopped: the drain timeout passed, and calls were cut"), "{output}");
    let cut = output.lines().find(|line| line.contains("UploadRange") && line.contains("CANCELLED"));
    assert!(cut.is_some(), "the call that was cut has its line: {output}");
    answer.await.expect("an answer").expect_err("cut");
    let _program = Program::serve(&mut app).await;
    assert_eq!(app.ada().get(&session.name).await.expect("the session").received_bytes, 0);
}

#[tokio::test]
async fn an_invalid_configuration_fails_with_one_clear_line_before_any_port_is_opened() {
    let (app, _) = App::stopped().await;
    // This port is taken. If the program came as far as to open it, it would report that.
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listen = taken.local_addr().expect("an address").to_string();
    let unmigrated = database_url(&app, "postgres");
    let nobody = unmigrated.replace(&port_of(&unmigrated), &closed_port().await);
    let table = [
        ("store", "ftp://bucket", "--store"),
        ("store", "ftp://key:hush@bucket", "without a password"),
        ("store", "s3://key:hush@bucket", "without a password"),
        ("store", "s3://bucket?sig=hush", "without a password"),
        ("store-settings", "/dev/null/settings", "/dev/null/settings"),
        ("store", "file://relative/folder", "--store"),
        ("store", "file:///dev/null/folder", "--store"),
        ("issuer", "http://login.example.com/{tenantid}/v2.0", "http://login.example.com"),
        ("issuer", "not an address", "not an address"),
        ("upload-token-key", "short", "at least 32 bytes"),
        ("session-idle-timeout", "25h", "--session-idle-timeout"),
        ("database-url", "not an address", "--database-url"),
        ("database-url-file", "/nowhere", "give one of them"),
        ("upload-token-key-file", "/nowhere", "give one of them"),
        ("database-url", unmigrated.as_str(), "print-upload migrate"),
        ("database-url", nobody.as_str(), "database"),
        ("listen", listen.as_str(), "--listen"),
    ];
    for (flag, value, expected) in table {
        let mut arguments = vec!["serve".to_owned(), format!("--listen={listen}")];
        let others = app.flags().filter(|(other, _)| *other != flag);
        arguments.extend(others.map(|(flag, value)| format!("--{flag}={value}")));
        if flag != "listen" {
            arguments.push(format!("--{flag}={value}"));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

        let (status, output) = Program::run(&arguments).await;

        assert_eq!(status.code(), Some(1), "{flag}={value}: {output}");
        assert!(output.starts_with("print-upload: ") && output.contains(expected), "{flag}={value}: {output}");
        assert_eq!(output.lines().count(), 1, "{flag}={value}: {output}");
        assert!(!output.contains("hush"), "{flag}={value}: {output}");
    }
}

#[tokio::test]
async fn migrate_makes_a_database_that_can_be_served_and_catalog_apply_fills_it() {
    let (mut app, _) = App::stopped().await;
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    execute(&app, format!("create database {name}")).await;
    app.set_flag("database-url", &database_url(&app, &name));
    for _ in 0..2 {
        let (status, output) =
            Program::run(&["migrate", &format!("--database-url={}", app.flag("database-url"))]).await;
        assert!(status.success(), "{output}");
    }

    let program = Program::serve(&mut app).await;
    let (job, document) = ("17", uuid::Uuid::new_v4());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("catalog.json");
    let catalog = serde_json::json!({
        "tenants": [{"name": format!("tenants/{TENANT}"), "subscriptionActive": true, "revision": "1"}],
        "printers": [{"name": format!("tenants/{TENANT}/printers/p"), "revision": "1"}],
        "jobs": [{"name": format!("tenants/{TENANT}/printers/p/jobs/{job}"), "creator": {"user": "ada"},
                  "document": document, "revision": "1"}],
    });
    std::fs::write(&file, catalog.to_string()).expect("a file");
    for _ in 0..2 {
        let server = format!("--server={}", app.address);
        let token = format!("--token={}", catalog_token());
        let (status, output) = Program::run(&["catalog", "apply", file.to_str().expect("text"), &server, &token]).await;
        assert!(status.success() && output.contains("3 entries pushed"), "{output}");
    }

    let document = format!("printers/p/jobs/{job}/documents/{document}");
    app.ada().upload(&document, &sample_bytes(1000)).await.expect("an upload");
    program.kill().await;
    execute(&app, format!("drop database {name} with (force)")).await;
}

#[tokio::test]
async fn catalog_apply_reports_what_is_wrong() {
    let (mut app, _) = App::stopped().await;
    let _program = Program::serve(&mut app).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (server, token) = (format!("--server={}", app.address), format!("--token={}", catalog_token()));
    let orphan = serde_json::json!({"printers": [{"name": format!("tenants/{}/printers/p", uuid::Uuid::new_v4())}]});
    for (name, content) in [("broken", "{"), ("unknown", r#"{"toasters": []}"#), ("orphan", &orphan.to_string())] {
        let file = folder.path().join(name);
        std::fs::write(&file, content).expect("a file");
        let (status, output) = Program::run(&["catalog", "apply", file.to_str().expect("text"), &server, &token]).await;
        assert_eq!(status.code(), Some(1), "{name}: {output}");
        assert!(output.starts_with("print-upload: "), "{name}: {output}");
    }
}

fn catalog_token() -> String {
    let subject = print_upload_dev::issuer::Subject::Application {
        app_id: CATALOG_CLIENT.into(),
        roles: vec!["PrintCatalog.ReadWrite.All".into()],
    };
    issuer().issue(TENANT, &subject, Duration::from_secs(600)).expect("a token")
}

fn database_url(app: &App, database: &str) -> String {
    let options: PgConnectOptions = app.database.url.parse().expect("an address");
    options.database(database).to_url_lossy().to_string()
}

fn port_of(url: &str) -> String {
    let options: PgConnectOptions = url.parse().expect("an address");
    format!(":{}/", options.get_port())
}

async fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    format!(":{}/", listener.local_addr().expect("an address").port())
}

async fn execute(app: &App, statement: String) {
    // It contains only names that this file has made.
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(app.pool()).await.expect("the statement runs");
}
