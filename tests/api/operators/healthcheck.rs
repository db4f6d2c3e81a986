//! `print-upload healthcheck`, the health check of containers.

use print_upload_dev::ThrowAwayCertificate;
use tokio::net::TcpListener;

use crate::harness::{App, Program, eventually, sample_bytes};

async fn check(arguments: &[&str]) -> (bool, String) {
    let arguments: Vec<&str> = std::iter::once("healthcheck").chain(arguments.iter().copied()).collect();
    let (status, output) = Program::run(&arguments).await;
    (status.success(), output)
}

#[tokio::test]
async fn a_service_is_healthy_while_it_serves() {
    let mut app = App::start().await;
    let server = format!("--server={}", app.address);
    let url = format!("--url=http://{}/openapi.json", app.rest_address);
    let (nowhere, no_page) =
        (format!("--server=http://{}", app.address), format!("--url=http://{}/", app.rest_address));
    for asked in [&server, &url, &nowhere] {
        let (is_healthy, output) = check(&[asked]).await;
        assert!(is_healthy && output.is_empty(), "{asked}: {output}");
    }
    let (is_healthy, output) = check(&[&no_page]).await;
    assert!(!is_healthy && output.contains("404"), "{output}");

    app.stop().await;
    for asked in [&server, &url] {
        let (is_healthy, output) = check(&[asked]).await;
        assert!(!is_healthy && output.starts_with("print-upload: "), "{asked}: {output}");
    }
}

#[tokio::test]
async fn a_service_that_drains_is_not_healthy() {
    let mut app = App::start().await;
    let document = app.new_document().await;
    app.stop().await;
    let program = Program::serve(&mut app).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let (_still_held, _answer) = ada.stall(&session, &bytes, 0..1000);
    eventually("a writer is under way", async || app.files_of(&session).len() == 1).await;

    program.terminate();

    let server = format!("--server={}", app.address);
    eventually("it is not healthy any more", async || !check(&[&server]).await.0).await;
}

#[tokio::test]
async fn one_that_does_not_answer_is_not_healthy() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("an address");
    for asked in [format!("--server={address}"), format!("--url=http://{address}/")] {
        let (is_healthy, output) = check(&[&asked, "--timeout=100ms"]).await;
        assert!(!is_healthy && output.contains("no answer in time"), "{asked}: {output}");
    }
}

#[tokio::test]
async fn behind_tls_its_authority_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = ThrowAwayCertificate::make(folder.path()).expect("a certificate");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut app = App::start().await;
    app.stop().await;
    app.set_flag("tls-cert", &file("cert.pem"));
    app.set_flag("tls-key", &file("key.pem"));
    app.run().await;
    let asked = [format!("--server={}", app.address), format!("--url=https://{}/openapi.json", app.rest_address)];
    let ca = format!("--ca={}", certificate.ca_file().display());
    for asked in &asked {
        assert!(check(&[asked, &ca]).await.0, "{asked}");
        assert!(!check(&[asked]).await.0, "{asked}: the authority is not trusted");
    }
}
