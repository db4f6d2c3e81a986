//! `gateway` as a process: in front of two replicas, with stalled callers, without its service.

use std::time::Duration;

use print_upload::proto::upload_session::State;
use sqlx::{Postgres, Transaction};
use tokio::{task::JoinSet, time::timeout};

use crate::harness::{Actor, App, Program, RestActor, Socket, eventually, refused, sample_bytes, user_claims};

/// More calls than many HTTP/2 servers accept on one connection (RFC 9113 recommends at least 100).
const STALLED_UPLOADS: usize = 220;
const WRITERS_A_SESSION: usize = 4;

/// Their bytes exceed the default connection window of an HTTP/2 client.
const STALLED_DOWNLOADS: usize = 8;

/// How long the other callers may take. They take a second or two, or they never end.
const DEADLINE: Duration = Duration::from_secs(60);

/// An app's data, served by two replicas behind a gateway. Its gRPC actors call the second replica.
async fn two_replicas() -> (App, [Program; 3], RestActor) {
    let mut app = App::start().await;
    app.stop().await;
    let first = Program::serve(&mut app).await;
    let mut upstreams = vec![app.address];
    let second = Program::serve(&mut app).await;
    upstreams.push(app.address);
    let (gateway, address) = Program::gateway(&upstreams, &[]).await;
    app.rest_address = address;
    let ada = app.rest(&app.ada());
    (app, [first, second, gateway], ada)
}

#[tokio::test]
async fn in_front_of_two_replicas_it_behaves_the_same() {
    let (app, _programs, ada) = two_replicas().await;
    let (document, bytes) = (app.new_document().await, sample_bytes(100_000));
    for round in 0..4 {
        let url = ada.begin(&document, bytes.len()).await;
        for start in (0..50_000).step_by(10_000) {
            assert_eq!(ada.put(&url, &bytes, start..start + 10_000).await.status, 202);
        }
        assert_eq!(ada.get(&url).await.missing(), ["50000-99999"], "round {round}");
        assert_eq!(ada.cancel(&document).await.status, 204);
        assert_eq!(ada.put(&url, &bytes, 50_000..60_000).await.reason(), refused(409, "UPLOAD_SESSION_CANCELED"));
        for _ in 0..3 {
            assert_eq!(ada.cancel(&document).await.status, 204);
            assert_eq!(ada.get(&url).await.reason(), refused(404, "UPLOAD_SESSION_CANCELED"));
        }
    }
    assert_eq!(app.rest(&app.bob()).cancel(&document).await.reason(), refused(403, "NOT_SESSION_OWNER"));
    assert_eq!(app.rest(&app.mallory()).cancel(&document).await.reason(), refused(404, "DOCUMENT_NOT_FOUND"));
    assert_eq!(app.anonymous_rest().cancel(&document).await.reason(), refused(401, "TOKEN_MISSING"));

    let url = ada.begin(&document, bytes.len()).await;
    assert_eq!(ada.put(&url, &bytes, 40_000..100_000).await.status, 202);
    for _ in 0..2 {
        assert_eq!(ada.put(&url, &bytes, 0..40_000).await.status, 201);
    }
    for _ in 0..4 {
        assert!(ada.get(&format!("/print/{document}/$value")).await.body == bytes);
        assert_eq!(ada.cancel(&document).await.reason(), refused(404, "UPLOAD_SESSION_COMPLETED"));
    }
}

#[tokio::test]
async fn stalled_writers_on_either_replica_are_notified_of_a_cancel() {
    let (app, _programs, ada) = two_replicas().await;
    let document = app.new_document().await;
    let url = ada.begin(&document, 400).await;
    let session = app.ada().get(&format!("{document}/uploadSession")).await.expect("the session");
    let mut sockets = Vec::new();
    for writer in 0..4 {
        let mut socket = Socket::put(app.rest_address, &url, writer * 100..(writer + 1) * 100, 400).await;
        socket.write(&[7; 50]).await;
        sockets.push(socket);
    }
    eventually("four writers are under way", async || app.files_of(&session).len() == 4).await;

    assert_eq!(ada.cancel(&document).await.status, 204);

    for mut socket in sockets {
        let head = socket.read_head().await;
        assert!(head.starts_with("HTTP/1.1 409 Conflict\r\n"), "{head}");
    }
    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
}

#[tokio::test]
async fn stalled_callers_do_not_slow_the_others() {
    let mut app = App::start().await;
    app.stop().await;
    // All of them are one user.
    app.set_flag("fair-transfers", "false");
    let _service = Program::serve(&mut app).await;
    let (_gateway, address) = Program::gateway(&[app.address], &[]).await;
    app.rest_address = address;

    let others = async {
        let _stalled = (stall_downloads(&app).await, stall_uploads(&app).await);
        let (ada, document, bytes) = (app.rest(&app.ada()), app.new_document().await, sample_bytes(9 << 20));
        let url = ada.begin(&document, bytes.len()).await;
        assert_eq!(ada.put(&url, &bytes, 0..bytes.len()).await.status, 201);
        assert!(ada.get(&format!("/print/{document}/$value")).await.body == bytes);
        let document = app.new_document().await;
        ada.begin(&document, 1000).await;
        assert_eq!(ada.cancel(&document).await.status, 204);
    };
    timeout(DEADLINE, others).await.expect("nobody waits for the stalled callers");
}

/// Downloads that have started, and are not read any further.
async fn stall_downloads(app: &App) -> Vec<Socket> {
    let (mut ada, token) = (app.ada(), user_claims().signed());
    let (document, bytes) = (app.new_document().await, sample_bytes(20 << 20));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    for start in [0, 10 << 20] {
        ada.send(&session, &bytes, start..start + (10 << 20)).await.expect("a half");
    }
    let mut stalled = Vec::new();
    for _ in 0..STALLED_DOWNLOADS {
        let mut download = Socket::get(app.rest_address, &format!("/print/{document}/$value"), &token).await;
        assert!(download.read_head().await.starts_with("HTTP/1.1 200"));
        stalled.push(download);
    }
    stalled
}

/// Uploads that have sent half of their bytes.
async fn stall_uploads(app: &App) -> Vec<Socket> {
    let ada = app.rest(&app.ada());
    let mut stalled = Vec::new();
    for _ in 0..STALLED_UPLOADS / WRITERS_A_SESSION {
        let url = ada.begin(&app.new_document().await, 400).await;
        for writer in 0..WRITERS_A_SESSION {
            let mut upload = Socket::put(app.rest_address, &url, writer * 100..(writer + 1) * 100, 400).await;
            upload.write(&[7; 50]).await;
            stalled.push(upload);
        }
    }
    stalled
}

#[tokio::test]
async fn uploads_that_the_service_does_not_read_do_not_keep_others_back() {
    const WRITERS: usize = 24;
    let mut app = App::with([("database-connections", "40")]).await;
    app.stop().await;
    let _service = Program::serve(&mut app).await;
    let (_gateway, address) = Program::gateway(&[app.address], &[]).await;
    app.rest_address = address;
    let (ada, bytes) = (app.rest(&app.ada()), sample_bytes(WRITERS_A_SESSION * 2_000_000));
    let mut urls = Vec::new();
    for _ in 0..WRITERS / WRITERS_A_SESSION {
        urls.push(ada.begin(&app.new_document().await, bytes.len()).await);
    }
    // Once without uploads, so that the connections to the database are open. A busy machine is slow to open them.
    let held = lock_all_sessions(&app).await;
    let mut reads = JoinSet::new();
    for url in urls.iter().cycle().take(WRITERS) {
        let (ada, url) = (ada.clone(), url.clone());
        reads.spawn(async move { ada.get(&url).await });
    }
    eventually("they all wait", async || app.waiting_statements().await >= WRITERS as i64).await;
    held.rollback().await.expect("the lock is released");
    reads.join_all().await;

    let held = lock_all_sessions(&app).await;
    let mut uploads = JoinSet::new();
    for writer in 0..WRITERS {
        let (ada, bytes, url) = (ada.clone(), bytes.clone(), urls[writer / WRITERS_A_SESSION].clone());
        let start = writer % WRITERS_A_SESSION * 2_000_000;
        uploads.spawn(async move { ada.put(&url, &bytes, start..start + 2_000_000).await.status });
    }
    // The sweeper may wait as well.
    eventually("they all wait", async || app.waiting_statements().await >= WRITERS as i64).await;

    assert_eq!(ada.post("/print/printers/p/jobs").await.status, 201);

    assert!(uploads.try_join_next().is_none(), "it was answered while they still waited");
    held.rollback().await.expect("the lock is released");
    let statuses = uploads.join_all().await;
    assert!(statuses.iter().all(|status| matches!(status, 201 | 202)), "{statuses:?}");
}

async fn lock_all_sessions(app: &App) -> Transaction<'static, Postgres> {
    let mut held = app.pool().begin().await.expect("a transaction");
    sqlx::query("lock table upload_session").execute(&mut *held).await.expect("locked");
    held
}

#[tokio::test]
async fn when_a_replica_is_killed_the_other_one_takes_every_call() {
    let (app, [first, _second, _gateway], ada) = two_replicas().await;
    let (document, bytes) = (app.new_document().await, sample_bytes(40_000));
    let url = ada.begin(&document, bytes.len()).await;
    assert_eq!(ada.put(&url, &bytes, 0..1000).await.status, 202);

    first.kill().await;

    let mut in_a_row = 0;
    eventually("the gateway has noticed", async || {
        in_a_row = if ada.get(&url).await.status == 200 { in_a_row + 1 } else { 0 };
        in_a_row == 20
    })
    .await;
    for start in (1000..40_000).step_by(1000) {
        let expected = if start == 39_000 { 201 } else { 202 };
        assert_eq!(ada.put(&url, &bytes, start..start + 1000).await.status, expected);
    }
    assert!(ada.get(&format!("/print/{document}/$value")).await.body == bytes);
}

#[tokio::test]
async fn without_its_service_it_reports_so_and_goes_on_when_the_service_is_back() {
    let mut app = App::start().await;
    let document = app.new_document().await;
    let (_gateway, address) = Program::gateway(&[app.address], &[]).await;
    let ada = app.ada().rest(address);
    let url = ada.begin(&document, 1000).await;
    app.stop().await;

    for path in [format!("/print/{document}/uploadSession"), url.clone()] {
        let answer = ada.get(&path).await;
        assert_eq!(answer.refusal(), (503, "serviceNotAvailable".into(), "SERVICE_UNREACHABLE".into()));
        assert_eq!(answer.header("retry-after"), "1");
        assert!(!String::from_utf8_lossy(&answer.body).contains("127.0.0.1"), "{answer:?}");
    }
    assert_eq!(ada.put(&url, &sample_bytes(1000), 0..1000).await.status, 503);

    app.run().await;
    eventually("the gateway finds it again", async || ada.get(&url).await.status == 200).await;
    assert_eq!(ada.cancel(&document).await.status, 204);
    let tombstone = app.ada().get(&format!("{document}/uploadSession")).await.expect("the tombstone");
    assert_eq!(tombstone.state(), State::Canceled);
}

#[tokio::test]
async fn a_gateway_that_cannot_work_does_not_start() {
    let cases: [(&[&str], &str); 4] = [
        (&["gateway"], "--upstream"),
        (&["gateway", "--upstream=no address"], "no address"),
        (&["gateway", "--upstream=http://127.0.0.1:1", "--tls-cert=/none.pem"], "--tls-key"),
        (&["gateway", "--upstream=http://127.0.0.1:1", "--tls-cert=/none.pem", "--tls-key=/none.pem"], "/none.pem"),
    ];
    for (arguments, expected) in cases {
        let (status, output) = Program::run(arguments).await;
        assert!(!status.success() && output.contains(expected), "{arguments:?}: {output}");
    }
}

#[tokio::test]
async fn it_drains_before_it_ends() {
    let app = App::start().await;
    let document = app.new_document().await;
    let (gateway, address) = Program::gateway(&[app.address], &["--drain-timeout=10s"]).await;
    let ada: Actor = app.ada();
    let url = ada.rest(address).begin(&document, 100).await;
    let session = app.ada().get(&format!("{document}/uploadSession")).await.expect("the session");
    let mut socket = Socket::put(address, &url, 0..100, 100).await;
    socket.write(&[7; 50]).await;
    eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;

    gateway.terminate();
    eventually("nothing new is accepted", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    socket.write(&[7; 50]).await;

    let head = socket.read_head().await;
    assert!(head.starts_with("HTTP/1.1 201 Created\r\n"), "{head}");
    drop(socket);
    let (status, output) = gateway.wait_for_end().await;
    assert!(status.success() && output.contains("every call was answered"), "{output}");
}
