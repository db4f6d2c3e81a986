//! The development issuer as a process of its own, and a service that trusts its certificate authority.

use std::path::Path;

use print_upload_dev::sample;
use tonic::Code;

use crate::harness::{App, ErrorExt, Port, Program, TENANT};

/// Starts an issuer on a port, and returns its address.
async fn issuer(folder: &Path, port: &Port) -> (Program, String) {
    let data_dir = format!("--data-dir={}", folder.display());
    let mut program = Program::start_dev(&["--log-json", "issuer", &format!("--listen={}", port.address), &data_dir]);
    let line = program.wait_for_line(r#""message":"issuing""#).await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    (program, line["fields"]["address"].as_str().expect("an address").to_owned())
}

async fn ada_s_token(folder: &Path) -> String {
    let data_dir = format!("--data-dir={}", folder.display());
    let tenant = format!("--tenant={TENANT}");
    let scopes = "--scope=PrintJob.ReadWrite,PrintJob.Create,Printer.Read.All";
    let (status, said) = Program::run_dev(&["token", "--user=ada", scopes, &tenant, &data_dir]).await;
    assert!(status.success(), "{said}");
    said.trim().to_owned()
}

#[tokio::test]
async fn a_service_trusts_it_by_its_authority_alone_and_still_does_when_it_has_started_again() {
    let mut app = App::start().await;
    let (document, trusted_issuer) = (app.new_document().await, app.flag("issuer").to_owned());
    app.stop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let port = Port::reserve();
    let (program, address) = issuer(folder.path(), &port).await;
    assert!(address.starts_with("https://localhost:"), "{address}");
    let old_token = ada_s_token(folder.path()).await;

    app.set_flag("issuer", &format!("{trusted_issuer},{address}"));
    let service = Program::serve(&mut app).await;
    let unknown =
        app.bearer(&old_token).create(&document, 1000).await.expect_err("the authority of its certificate is unknown");
    assert_eq!(unknown.code(), Code::Unavailable, "{unknown:?}");
    service.kill().await;

    let ca_file = folder.path().join("tls/localhost/ca.pem");
    app.set_flag("issuer-ca", &ca_file.display().to_string());
    let _service = Program::serve(&mut app).await;
    app.bearer(&old_token).create(&document, 1000).await.expect("a session");

    program.terminate();
    program.wait_for_end().await;
    let ca = std::fs::read(&ca_file).expect("its authority");
    let (_program, same_address) = issuer(folder.path(), &port).await;
    assert_eq!((same_address, std::fs::read(&ca_file).expect("its authority")), (address, ca));
    let new_token = ada_s_token(folder.path()).await;
    for token in [&old_token, &new_token] {
        app.bearer(token).delete(&format!("{document}/uploadSession")).await.expect("deleted");
    }
    let stranger = app.bearer(&ada_s_token_elsewhere().await).create(&document, 1000).await.expect_err("a stranger");
    assert_eq!(stranger.code_and_reason(), (Code::Unauthenticated, "TOKEN_ISSUER_UNKNOWN".into()));
}

/// A token of another issuer, which the service does not trust.
async fn ada_s_token_elsewhere() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let (_program, _) = issuer(folder.path(), &Port::reserve()).await;
    ada_s_token(folder.path()).await
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_is_named() {
    let mut app = App::start().await;
    app.stop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").expect("a file");
    for (file, expected) in [("/nowhere", "--issuer-ca /nowhere"), (&*empty.display().to_string(), "no certificate")] {
        app.set_flag("issuer-ca", file);
        let flags: Vec<String> = app.flags().map(|(flag, value)| format!("--{flag}={value}")).collect();
        let arguments: Vec<&str> = std::iter::once("serve").chain(flags.iter().map(String::as_str)).collect();
        let (status, said) = Program::run(&arguments).await;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.starts_with("print-upload: ") && said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn without_an_issuer_s_folder_no_token_is_minted() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = format!("--data-dir={}", folder.path().display());
    let user = format!("--user={}", sample::OWNER);
    let (status, said) = Program::run_dev(&["token", &user, "--scope=PrintJob.Read", &data_dir]).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("holds no issuer"), "{said}");
}
