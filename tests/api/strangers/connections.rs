//! How many connections there may be, and for how long.

use std::{io::ErrorKind, path::Path, time::Duration};

use bytes::Bytes;
use print_upload_dev::ThrowAwayCertificate;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{interval, timeout},
};
use tonic::Code;

use super::{CHECK, DEADLINE, WATCH};
use crate::harness::{
    App, Operator, Program, Socket, Stranger, call_until_cut, chunk, eventually, frame, sample_bytes, user_claims,
};

const OPEN: &str = "print_upload_connections";

/// A program that serves with these flags. No connection to it is open.
async fn program(flags: &[(&str, &str)]) -> (App, Program, Operator) {
    let (mut app, _) = App::stopped().await;
    app.set_flag("admin-listen", "127.0.0.1:0");
    for (flag, value) in flags {
        app.set_flag(flag, value);
    }
    let program = Program::serve(&mut app).await;
    let operator = Operator::of(&program);
    (app, program, operator)
}

/// Whether the health of the service can be asked for on this connection.
async fn is_served(stranger: &Stranger) -> bool {
    let answer = stranger.ask(CHECK, frame(0, 0, b"")).await;
    answer.is_ok_and(|status| status.code() == Code::Ok)
}

async fn served(app: &App) -> Stranger {
    let stranger = Stranger::connect(app.address).await;
    assert!(is_served(&stranger).await, "a connection");
    stranger
}

/// A connection that the service closes at once.
async fn is_refused(app: &App) {
    let mut socket = TcpStream::connect(app.address).await.expect("the listener is open");
    let read = timeout(DEADLINE, socket.read(&mut [0])).await.expect("an end");
    assert!(matches!(read, Ok(0)) || read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn one_address_has_only_so_many_connections() {
    let (app, _program, operator) = program(&[("max-connections-per-address", "3")]).await;
    let held = [served(&app).await, served(&app).await, served(&app).await];

    is_refused(&app).await;

    let scrape = operator.scrape().await;
    assert_eq!(scrape.value(OPEN), 3.0);
    assert_eq!(scrape.value(r#"print_upload_refusals_total{limit="connections_of_address"}"#), 1.0);
    assert_eq!(scrape.value(r#"print_upload_refusals_total{limit="connections"}"#), 0.0);
    assert!(is_served(&held[0]).await, "those that are open stay");
    let [_first, _second, third] = held;
    drop(third);
    eventually("its end is noticed", async || operator.scrape().await.has(OPEN, 2.0)).await;
    served(&app).await;
}

#[tokio::test]
async fn a_proxy_may_have_all_connections() {
    let flags = [("max-connections", "5"), ("max-connections-per-address", "1"), ("proxy-address", "127.0.0.0/8")];
    let (app, _program, operator) = program(&flags).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(served(&app).await);
    }

    is_refused(&app).await;

    let scrape = operator.scrape().await;
    assert_eq!(scrape.value(r#"print_upload_refusals_total{limit="connections"}"#), 1.0);
    assert_eq!(scrape.value(OPEN), 5.0);
}

/// Before it has a protocol, and before it has shaken hands.
#[tokio::test]
async fn a_connection_counts_from_its_beginning() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = ThrowAwayCertificate::make(folder.path()).expect("a certificate");
    let files = certificate.files();
    let text = |file: &Option<std::path::PathBuf>| file.as_deref().map(Path::display).expect("a file").to_string();
    let (cert, key) = (text(&files.tls_cert), text(&files.tls_key));
    let [all, of_address] = [("max-connections", "2"), ("max-connections-per-address", "2")];
    for flags in [&[all, of_address][..], &[all, of_address, ("tls-cert", cert.as_str()), ("tls-key", key.as_str())]] {
        let (app, _program, operator) = program(flags).await;
        let mut silent = Vec::new();
        for address in [app.address, app.rest_address] {
            silent.push(TcpStream::connect(address).await.expect("a connection"));
        }
        eventually("they are open", async || operator.scrape().await.has(OPEN, 2.0)).await;

        is_refused(&app).await;

        for socket in &silent {
            let read = socket.try_read(&mut [0]);
            assert!(read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "it is still open");
        }
    }
}

#[tokio::test]
async fn a_connection_without_calls_is_closed() {
    let app = App::with([("idle-timeout", "300ms")]).await;
    let watching = Stranger::connect(app.address).await;
    let (response, mut body) = watching.call(WATCH).await;
    body.send_data(frame(0, 0, b""), true).expect("sent");
    let mut health = response.await.expect("an answer").into_body();
    health.data().await.expect("a message").expect("the health");
    let mut ada = app.ada();
    let document = app.new_document().await;

    let (silent, used) = (Stranger::connect(app.address).await, served(&app).await);

    eventually("they are closed", async || silent.is_closed() && used.is_closed()).await;
    assert!(!watching.is_closed(), "a call is in progress");
    ada.create(&document, 10).await.expect("a client connects again");
}

#[tokio::test]
async fn a_connection_that_is_old_takes_no_new_call_and_completes_those_in_progress() {
    let app = App::with([("connection-age", "2s")]).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    let (sender, answer) = ada.stall(&session, &bytes, 0..1000);
    eventually("a writer is under way", async || app.files_of(&session).len() == 1).await;
    // It is younger than the writer's connection.
    let stranger = served(&app).await;
    let (watched, mut request) = stranger.call(WATCH).await;
    request.send_data(frame(0, 0, b""), true).expect("sent");

    eventually("it is closed", async || stranger.is_closed()).await;

    drop(watched);
    assert!(!answer.is_finished());
    sender.send(chunk(bytes[999..].to_vec())).await.expect("it is still read");
    drop(sender);
    answer.await.expect("no panic").expect("the whole range");
    ada.get(&session.name).await.expect("the next call is on a new connection");
}

#[tokio::test]
async fn a_connection_that_is_much_too_old_is_cut() {
    let app = App::with([("connection-age", "2s"), ("connection-grace", "1s")]).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");

    let (_still_held, answer) = ada.stall(&session, &bytes, 0..1000);

    timeout(DEADLINE, answer).await.expect("an end").expect("no panic").expect_err("cut");
}

/// Uploads a document that is larger than the buffers of a socket, and begins to download it.
async fn download(app: &App, bytes: &Bytes) -> Socket {
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    for start in (0..bytes.len()).step_by(10 << 20) {
        ada.send(&session, bytes, start..start + (10 << 20)).await.expect("a part");
    }
    let path = format!("/print/{document}/$value");
    let mut download = Socket::get(app.rest_address, &path, &user_claims().signed()).await;
    assert!(download.read_head().await.starts_with("HTTP/1.1 200"));
    download
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut() {
    const ROUTE: &str = "/print/{queues}/{queue}/jobs/{job}/documents/{document}/$value";
    let (app, _program, operator) = program(&[("write-timeout", "300ms")]).await;
    let _unread = download(&app, &sample_bytes(20 << 20)).await;

    let ended = format!(r#"print_upload_rest_requests_total{{method="GET",route="{ROUTE}",status="200"}}"#);
    eventually("the request has ended", async || operator.scrape().await.has(&ended, 1.0)).await;
}

/// Each refusal that it does not read costs more memory than it has cost to ask for it.
#[tokio::test]
async fn a_stranger_that_reads_no_refusals_is_cut_soon() {
    let app = App::with([("write-timeout", "1h")]).await;
    let calling = call_until_cut(app.address, "/print.upload.v1.UploadSessions/GetUploadSession");
    timeout(DEADLINE, calling).await.expect("it is cut");
}

/// Without a limit the system keeps megabytes of an answer, and is given more only when a third of them has been read.
#[tokio::test]
async fn a_client_that_reads_slowly_reads_everything() {
    let app = App::with([("write-timeout", "6s"), ("connection-age", "1s"), ("connection-grace", "5s")]).await;
    let bytes = sample_bytes(20 << 20);
    let mut download = download(&app, &bytes).await;

    let (mut read, mut pace) = (Vec::new(), interval(Duration::from_millis(200)));
    while read.len() < 2 << 20 {
        pace.tick().await;
        read.extend(download.read(32 << 10).await);
    }

    read.extend(download.read(bytes.len() - read.len()).await);
    assert!(read == bytes);
}

/// Over REST a call may have sent a JSON body before its credential is known.
#[tokio::test]
async fn a_connection_makes_fewer_calls_over_rest_than_over_grpc() {
    let app = App::start().await;
    for (address, expected) in [(app.address, 2047), (app.rest_address, 128)] {
        let stranger = Stranger::connect(address).await;
        let (response, _body) = stranger.call("/nothing").await;
        response.await.expect("an answer");
        assert_eq!(stranger.max_calls(), expected);
    }
}

/// The descriptors that the program may open are not only for connections.
#[tokio::test]
async fn strangers_leave_descriptors_for_others() {
    let (mut app, document) = App::stopped().await;
    let _program = Program::serve_with_descriptors(&mut app, 160).await;
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(Stranger::connect_from([127, 0, 0, 2], app.address).await);
    }
    let bytes = sample_bytes(1000);
    let mut ada = app.ada();
    timeout(DEADLINE, ada.upload(&document, &bytes)).await.expect("an answer").expect("an upload");
    assert!(strangers.iter().flatten().any(|stranger| !stranger.is_closed()), "some are still connected");
}
