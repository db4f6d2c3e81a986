//! Commands that fail, and the exit codes that scripts rely on.

use std::{fs::File, path::PathBuf};

use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::{sample_file, upload};
use crate::harness::{Actor, App, Command};

/// An address without a listener. A command that calls it fails with exit code 6.
const NOWHERE: &str = "--server=127.0.0.1:1";

#[tokio::test]
async fn a_file_that_cannot_be_uploaded_is_reported_before_any_call() {
    let app = App::start().await;
    let (ada, document, (folder, _)) = (app.ada(), app.new_document().await, sample_file(1));
    let file = |name: &str| folder.path().join(name);
    File::create(file("empty")).expect("a file");
    File::create(file("huge")).and_then(|huge| huge.set_len((1 << 40) + 1)).expect("a sparse file");
    let table: [(PathBuf, &str); 5] = [
        (file("missing"), "No such file"),
        (folder.path().into(), "is a folder"),
        ("/dev/null".into(), "is no regular file"),
        (file("empty"), "is empty"),
        (file("huge"), "at most 1099511627776"),
    ];
    for (file, expected) in table {
        let finished = upload(&ada, &document, &file).arg(NOWHERE).run().await;
        assert_eq!(finished.failure().0, 1, "{}", finished.stderr);
        assert!(finished.stderr.contains(expected), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn a_refused_caller_gets_the_reason_and_its_exit_code() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, 1000).await.expect("a session");
    for name in ["status", "cancel", "watch"] {
        for target in [&session.name, &document] {
            let asked = async |actor: &Actor| actor.command(name).arg(target).arg("--json").run().await.failure();
            assert_eq!(asked(&app.bob()).await, (4, "NOT_SESSION_OWNER".into()), "{name} {target}");
            assert_eq!(asked(&app.mallory()).await.0, 3, "{name} {target}");
            assert_eq!(asked(&app.bearer("nonsense")).await, (4, "TOKEN_MALFORMED".into()), "{name} {target}");
        }
    }
    let (_folder, file) = sample_file(1000);
    let (code, _) = upload(&app.bob(), &document, &file).run().await.failure();
    assert_eq!(code, 1, "another session is active");
    let downloaded = app.mallory().command("download").arg(&document).arg("--json").run().await;
    assert_eq!(downloaded.failure().0, 3);
}

#[tokio::test]
async fn what_is_missing_and_what_has_ended_have_codes_of_their_own() {
    let app = App::start().await;
    let (ada, document) = (app.ada(), app.new_document().await);
    let asked = async |command: Command| command.arg("--json").run().await.failure();
    let cancel = |target: &str| ada.command("cancel").arg(target);
    assert_eq!(asked(ada.command("status").arg(&document)).await, (3, "UPLOAD_SESSION_NOT_FOUND".into()));
    assert_eq!(asked(cancel(&document)).await, (3, "UPLOAD_SESSION_NOT_FOUND".into()));
    assert_eq!(cancel(&document).arg("--allow-missing").run().await.code, Some(0));
    assert_eq!(asked(ada.command("download").arg(&document)).await, (1, "DOCUMENT_NOT_UPLOADED".into()));

    let session = ada.clone().create(&document, 1000).await.expect("a session");
    let other = "--etag=01234567-89ab-7def-8123-456789abcdef";
    assert_eq!(asked(cancel(&document).arg(other)).await, (1, "ETAG_MISMATCH".into()));
    for _ in 0..2 {
        assert_eq!(cancel(&document).arg(format!("--etag={}", session.etag)).run().await.code, Some(0));
    }
    assert_eq!(asked(ada.command("watch").arg(&document)).await, (5, "UPLOAD_SESSION_CANCELED".into()));

    let document = app.uploaded_document().await;
    assert_eq!(asked(ada.command("cancel").arg(&document)).await, (5, "UPLOAD_SESSION_COMPLETED".into()));
    let (_folder, file) = sample_file(7);
    let upload = ada.command("upload").file(&file).arg(format!("--document={document}"));
    assert_eq!(asked(upload).await, (1, "DOCUMENT_ALREADY_UPLOADED".into()));
}

#[tokio::test]
async fn a_document_that_is_not_uploaded_is_reported_whatever_is_in_the_folder() {
    let app = App::start().await;
    let (ada, document, (folder, file)) = (app.ada(), app.new_document().await, sample_file(1));
    std::fs::create_dir(folder.path().join("document")).expect("a folder");
    let download = || ada.command("download").arg(&document).arg("--json");
    for download in [download(), download().arg("--output").file(&file)] {
        let finished = download.process().current_dir(folder.path()).output().await.expect("it ends");
        let output = String::from_utf8_lossy(&finished.stderr);
        assert!(output.contains("DOCUMENT_NOT_UPLOADED"), "{output}");
    }
}

#[tokio::test]
async fn whoever_may_upload_and_not_read_learns_why_a_second_upload_fails() {
    let app = App::start().await;
    let (ada, document, (_folder, file)) = (app.ada_who_may_not_read(), app.new_document().await, sample_file(1000));
    upload(&ada, &document, &file).run().await.json();

    let again = upload(&ada, &document, &file).run().await;

    assert_eq!(again.failure(), (1, "DOCUMENT_ALREADY_UPLOADED".into()));
}

#[tokio::test]
async fn a_service_that_is_not_there_and_a_wrong_command_line_have_codes_of_their_own() {
    let app = App::start().await;
    let (ada, document) = (app.ada(), app.new_document().await);
    let away = ada.command("status").arg(&document).arg(NOWHERE).arg("--json").run().await;
    assert_eq!(away.failure().0, 6);
    assert!(away.stderr.contains("cannot reach the service at 127.0.0.1:1"), "{}", away.stderr);

    // A listener that never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = format!("--server={}", silent.local_addr().expect("an address"));
    let silence = ada.command("status").arg(&document).arg(server).arg("--timeout=200ms").arg("--json").run().await;
    assert_eq!(silence.failure().0, 6);
    assert!(silence.stderr.contains("did not answer within 200ms"), "{}", silence.stderr);

    // A listener that speaks another protocol.
    let other = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = other.local_addr().expect("an address");
    let answering = tokio::spawn(async move {
        while let Ok((mut caller, _)) = other.accept().await {
            let _ = caller.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let wrong = ada.command("status").arg(&document).arg(format!("--server={address}")).arg("--json").run().await;
    assert!(wrong.failure().0 == 6 && wrong.stderr.contains(&address.to_string()), "{}", wrong.stderr);
    answering.abort();

    for wrong in [
        ada.command("status"),
        ada.command("status").arg(&document).arg("--server=ftp://127.0.0.1:1"),
        ada.command("status").arg(&document).arg("--server=http://127.0.0.1:1").arg("--ca=/dev/null"),
        ada.command("upload").arg("file").arg("--document").arg(&document).arg("--upload-url=https://host"),
        ada.command("status").arg("printers/p"),
        ada.command("upload").arg("file"),
        ada.command("download").arg(&document).arg("--output=-").arg("--json"),
        Command::new("status").arg(&document),
    ] {
        assert_eq!(wrong.run().await.code, Some(2));
    }
}

#[tokio::test]
async fn a_credential_that_cannot_be_read_is_reported_as_one() {
    let (_folder, file) = sample_file(1);
    let status = Command::new("status").arg("uploadSessions/0190a1b2-0000-7000-8000-000000000001").arg(NOWHERE);
    let missing = status.arg("--token-file").file(&file.with_file_name("none")).arg("--json").run().await;
    assert_eq!(missing.failure().0, 4, "{}", missing.stderr);
}

#[tokio::test]
async fn an_upload_url_in_the_wrong_place_is_not_repeated() {
    let url = "https://host/uploadSessions/0190a1b2-0000-7000-8000-000000000001?tempauthtoken=a-secret";
    let wrong = [
        Command::new("status").arg(url),
        Command::new("cancel").arg(url),
        Command::new("download").arg(url),
        Command::new("upload").arg("/dev/null").arg("--document").arg(url),
    ];
    for command in wrong {
        let refused = command.arg(NOWHERE).env("PRINT_UPLOAD_TOKEN", "a-token").run().await;
        assert!(!refused.stderr.contains("a-secret"), "{}", refused.stderr);
        assert_ne!(refused.code, Some(0));
    }
}

#[tokio::test]
async fn nobody_has_to_hear_how_a_command_fails() {
    let app = App::start().await;
    let mut status = app.ada().command("status").arg(app.new_document().await).arg(NOWHERE).process();
    let full = File::options().write(true).open("/dev/full").expect("a full device");
    let ended = status.stderr(full).status().await.expect("it ends");
    assert_eq!(ended.code(), Some(6));
}
