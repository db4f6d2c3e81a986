//! TLS on both listeners, and certificates that are renewed while the service runs.

use std::{fs, net::SocketAddr, path::Path};

use print_upload::proto::GetPrintDocumentRequest;
use print_upload_client::{self as client, Client, Credential};
use print_upload_dev::ThrowAwayCertificate;
use tempfile::TempDir;

use crate::harness::{App, Command, Program, RestActor, eventually, user_claims};

/// A service with a certificate of a throw-away authority, and a document of ada's.
async fn behind_tls() -> (App, String, TempDir, ThrowAwayCertificate) {
    let mut app = App::start().await;
    let document = app.new_document().await;
    app.stop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = ThrowAwayCertificate::make(folder.path()).expect("a certificate");
    let files = certificate.files();
    let flag = |file: &Option<std::path::PathBuf>| file.as_deref().map(Path::display).expect("a file").to_string();
    app.set_flag("tls-cert", &flag(&files.tls_cert));
    app.set_flag("tls-key", &flag(&files.tls_key));
    app.run().await;
    (app, document, folder, certificate)
}

/// Ada over REST, with a client of her own that trusts an authority.
fn rest(address: SocketAddr, ca_pem: &str) -> RestActor {
    RestActor::over(trusting(ca_pem), &format!("https://{address}"), Some(&user_claims().signed()))
}

fn trusting(ca_pem: &str) -> reqwest::Client {
    let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes()).expect("a certificate");
    reqwest::Client::builder().tls_certs_only([ca]).build().expect("a client")
}

async fn is_trusted(address: SocketAddr, ca_pem: &str) -> bool {
    trusting(ca_pem).get(format!("https://{address}/openapi.json")).send().await.is_ok()
}

#[tokio::test]
async fn both_listeners_speak_tls_and_nothing_else() {
    let (app, document, _folder, certificate) = behind_tls().await;
    let ada = rest(app.rest_address, &certificate.ca_pem);
    ada.begin(&document, 1000).await;
    assert_eq!(ada.cancel(&document).await.status, 204);

    let grpc = format!("https://localhost:{}", app.address.port());
    let token = Credential::access_token(&user_claims().signed()).expect("a token");
    let trusting = client::connect(&[&grpc], Some(certificate.ca_pem.as_bytes())).expect("a transport");
    let request = || GetPrintDocumentRequest { name: document.clone() };
    Client::over(trusting, token.clone()).documents.get_print_document(request()).await.expect("the document");

    let command = || Command::new("status").arg(&document).env("PRINT_UPLOAD_TOKEN", &user_claims().signed());
    let command = |server: &str| command().arg("--json").arg(format!("--server={server}"));
    let authority = certificate.ca_file().display().to_string();
    // A server without a scheme means TLS, since an authority is named.
    for server in [grpc.clone(), grpc.replace("https://", "")] {
        let seen = command(&server).env("CA_CERT", &authority).run().await.json();
        assert_eq!(seen["state"], "STATE_CANCELED", "{server}");
    }
    assert_eq!(command(&grpc).run().await.failure().0, 6, "the authority is unknown");

    let system = client::connect(&[&grpc], None).expect("a transport");
    Client::over(system, token.clone())
        .documents
        .get_print_document(request())
        .await
        .expect_err("the authority is unknown");
    let plain = Client::new(&format!("http://{}", app.address), token).expect("a client");
    plain.clone().documents.get_print_document(request()).await.expect_err("plain text");
    reqwest::get(format!("http://{}/openapi.json", app.rest_address)).await.expect_err("plain text");
}

#[tokio::test]
async fn a_renewed_certificate_is_presented_without_a_restart() {
    let (app, document, folder, old) = behind_tls().await;
    let ada = rest(app.rest_address, &old.ca_pem);
    ada.begin(&document, 1000).await;

    let new = ThrowAwayCertificate::make(folder.path()).expect("a certificate");

    eventually("the new one is presented", async || is_trusted(app.rest_address, &new.ca_pem).await).await;
    assert!(!is_trusted(app.rest_address, &old.ca_pem).await);
    assert_eq!(ada.cancel(&document).await.status, 204, "connections that are open go on");

    fs::write(new.files().tls_cert.expect("a file"), "half a certif").expect("written");
    fs::remove_file(new.files().tls_key.expect("a file")).expect("removed");
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(is_trusted(app.rest_address, &new.ca_pem).await, "what cannot be used changes nothing");
}

#[tokio::test]
async fn the_gateway_as_a_process_speaks_tls_on_both_sides() {
    let (app, document, folder, certificate) = behind_tls().await;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let flags = [
        format!("--upstream=https://{}", app.address),
        format!("--upstream-ca={}", file("ca.pem")),
        format!("--tls-cert={}", file("cert.pem")),
        format!("--tls-key={}", file("key.pem")),
    ];
    let (_gateway, address) = Program::gateway(&[], &flags.each_ref().map(String::as_str)).await;
    let ada = rest(address, &certificate.ca_pem);
    ada.begin(&document, 1000).await;
    assert_eq!(ada.cancel(&document).await.status, 204);
}

#[tokio::test]
async fn a_key_that_is_not_the_certificates_keeps_the_service_from_starting() {
    let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    for folder in [&one, &other] {
        ThrowAwayCertificate::make(folder.path()).expect("a certificate");
    }
    let cert = format!("--tls-cert={}", one.path().join("cert.pem").display());
    let key = format!("--tls-key={}", other.path().join("key.pem").display());
    let (status, output) = Program::run(&["gateway", "--upstream=http://127.0.0.1:1", &cert, &key]).await;
    assert!(!status.success() && output.contains("--tls-cert"), "{output}");
}
