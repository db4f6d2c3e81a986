//! An answer that is sent before the body was read must be readable. A reset connection would look like a broken
//! network, and hide that the upload was canceled.

use print_upload_dev::issuer::KeyType;

use crate::harness::{App, Authority, RestActor, Socket, eventually, issuer, sample_bytes, user_claims};

const SIZE: usize = 5_000_000;

/// A session of ada's with an upload URL.
async fn stage() -> (App, RestActor, String, String) {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let url = ada.begin(&document, SIZE).await;
    (app, ada, document, url)
}

#[tokio::test]
async fn a_client_that_sends_everything_first_still_reads_that_its_upload_was_canceled() {
    let (app, ada, document, url) = stage().await;
    assert_eq!(ada.cancel(&document).await.status, 204);
    let mut socket = Socket::put(app.rest_address, &url, 0..SIZE, SIZE).await;

    for slice in sample_bytes(SIZE).chunks(100_000) {
        socket.write(slice).await;
    }

    let head = socket.read_head().await;
    assert!(head.starts_with("HTTP/1.1 409 Conflict\r\n"), "{head}");
}

#[tokio::test]
async fn a_client_that_holds_its_bytes_back_is_notified_at_once_when_its_upload_is_canceled() {
    let (app, ada, document, url) = stage().await;
    let session = app.ada().get(&format!("{document}/uploadSession")).await.expect("the session");
    let mut sockets = Vec::new();
    for writer in 0..4 {
        let mut socket = Socket::put(app.rest_address, &url, writer * 1_000_000..(writer + 1) * 1_000_000, SIZE).await;
        socket.write(&[7; 1000]).await;
        sockets.push(socket);
    }
    eventually("four writers are under way", async || app.files_of(&session).len() == 4).await;

    assert_eq!(ada.cancel(&document).await.status, 204, "though no writer has sent all of its bytes");

    for mut socket in sockets {
        let head = socket.read_head().await;
        assert!(head.starts_with("HTTP/1.1 409 Conflict\r\n"), "{head}");
        // Now it sends the rest, as if it had not read the answer.
        socket.write(&[7; 999_000]).await;
    }
    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
}

#[tokio::test]
async fn a_connection_is_used_on_after_an_answer_that_came_early() {
    let (app, ada, document, url) = stage().await;
    assert_eq!(ada.cancel(&document).await.status, 204);
    let mut socket = Socket::put(app.rest_address, &url, 0..SIZE, SIZE).await;
    socket.write(&[7; SIZE]).await;
    let head = socket.read_head().await;
    let length = head.split_once("content-length: ").expect("a length").1.split_once("\r\n").expect("a line").0;
    let length: usize = length.parse().expect("a number");

    socket.write(b"GET /nothing HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await;

    let rest = String::from_utf8(socket.read_to_end().await).expect("text");
    assert!(rest[length..].starts_with("HTTP/1.1 404 Not Found\r\n"), "{rest}");
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_receives_the_refusal_instead() {
    let (app, ada, document, url) = stage().await;
    assert_eq!(ada.cancel(&document).await.status, 204);
    let mut socket = Socket::put_expecting_continue(app.rest_address, &url, 0..SIZE, SIZE).await;
    let mut head = socket.read_head().await;
    if head.starts_with("HTTP/1.1 100") {
        // It was asked for the body before the service refused it. It sends everything.
        socket.write(&[7; SIZE]).await;
        head = socket.read_head().await;
    }
    assert!(head.starts_with("HTTP/1.1 409 Conflict\r\n"), "{head}");
}

#[tokio::test]
async fn a_refusal_in_place_of_100_continue_closes_the_connection() {
    let (app, _, _, url) = stage().await;
    // Whether the service was asked for the body depends on who refuses: the gateway, before it reads.
    let unknown = url.replace("uploadSessions", "nothing");
    for (url, head) in [
        (&unknown, "Expect: 100-continue\r\n"),
        (&url, "Expect: 100-Continue\r\nContent-Encoding: gzip\r\n"),
        (&url, "Expect: 100-continue\r\nContent-Range: bytes 0-0/1\r\nContent-Encoding: br\r\n"),
    ] {
        let mut socket = Socket::put_with(app.rest_address, url, 0..SIZE, SIZE, head).await;
        let answer = socket.read_head().await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        // A client that goes on nevertheless reads the end of the connection, and no answer that belongs elsewhere.
        socket.write(b"GET /nothing HTTP/1.1\r\nHost: here\r\n\r\n").await;
        let rest = String::from_utf8(socket.read_to_end().await).expect("text");
        assert!(!rest.contains("HTTP/1.1"), "{rest}");
    }
}

#[tokio::test]
async fn without_a_body_there_is_nothing_to_wait_for() {
    let app = App::start().await;
    let head = "Expect: 100-continue\r\nContent-Length: 0\r\n";
    let mut socket = Socket::post(app.rest_address, "/nothing", "x", head).await;
    let answer = socket.read_head().await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("connection: close"), "{answer}");
}

/// Whoever has no credential keeps no connection by sending a body for ever.
#[tokio::test]
async fn the_body_of_a_caller_who_has_proved_nothing_is_read_for_a_few_seconds() {
    let down = Authority::down().await;
    let app = App::with([("issuer", format!("{},{}", down.address, issuer().address).as_str())]).await;
    let document = app.new_document().await;
    let url = app.rest(&app.ada()).begin(&document, SIZE).await;
    let (forged, unknown) = (format!("{url}x"), url.replace("uploadSessions", "nothing"));
    let mut sockets = Vec::new();
    for (url, status) in [(&forged, 401), (&unknown, 404)] {
        let mut socket = Socket::put(app.rest_address, url, 0..SIZE, SIZE).await;
        let head = socket.read_head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        sockets.push(socket);
    }
    let path = format!("/print/{document}/createUploadSession");
    let mut socket = Socket::post(app.rest_address, &path, "x", "Content-Length: 60000\r\n").await;
    socket.write(b"{").await;
    sockets.push(socket);
    let token = down.sign(&user_claims(), KeyType::Rsa);
    let path = format!("/print/{document}/uploadSession");
    let mut socket = Socket::get_with(app.rest_address, &path, &token, "Content-Length: 60000\r\n").await;
    let head = socket.read_head().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "the token cannot be checked: {head}");
    sockets.push(socket);

    for mut socket in sockets {
        eventually("the connection is closed", async || !socket.trickle().await).await;
    }
}

#[tokio::test]
async fn a_client_that_sends_a_whole_range_first_still_reads_that_its_token_is_worth_nothing() {
    let (app, _, _, url) = stage().await;
    let mut socket = Socket::put(app.rest_address, &format!("{url}x"), 0..SIZE, SIZE).await;

    for slice in sample_bytes(SIZE).chunks(100_000) {
        socket.write(slice).await;
    }

    let head = socket.read_head().await;
    assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
}
