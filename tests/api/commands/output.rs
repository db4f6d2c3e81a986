//! The output of commands: text for people, JSON for scripts, and files, which are written whole or not at all.

use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
};

use insta::assert_snapshot;
use serde_json::Value;

use super::{sample_file, upload};
use crate::harness::{App, Command, sample_bytes};

/// Replaces what differs from run to run.
fn stable(text: &str, session: &str, document: &str) -> String {
    let id = session.trim_start_matches("uploadSessions/");
    let text = text.replace(id, "SESSION").replace(document, "DOCUMENT");
    let is_time = |word: &str| word.starts_with("20") && word.contains('T') && word.ends_with('Z');
    let words = text.split_inclusive([' ', '\n', ',', '"']);
    let stable = words.map(|word| {
        let bare = word.trim_end_matches([' ', '\n', ',', '"']);
        if is_time(bare) { word.replace(bare, "TIME") } else { word.to_owned() }
    });
    stable.collect()
}

#[tokio::test]
async fn people_read_text() {
    let app = App::start().await;
    let (mut ada, document, (folder, file)) = (app.ada(), app.new_document().await, sample_file(1000));
    let session = ada.create(&document, 1000).await.expect("a session");
    ada.send(&session, &sample_bytes(1000), 200..300).await.expect("a range");
    let text = |text: &str| stable(text, &session.name, &document);

    let status = ada.command("status").arg(&document).run().await;
    assert_snapshot!(text(&status.stdout), @r#"
    uploadSessions/SESSION ACTIVE
      document  DOCUMENT
      name      poster.pdf (application/pdf)
      received  100 of 1000 bytes
      owner     user ada
      created   TIME
      missing   [0, 200) [300, 1000)
      expires   TIME
    "#);

    let uploaded = ada.command("upload").file(&file).arg(format!("--document={document}")).run().await;
    assert_snapshot!(text(&uploaded.stderr).replace(&file.display().to_string(), "FILE"), @r#"resuming FILE in uploadSessions/SESSION: 100 of 1000 bytes are there"#);
    assert_snapshot!(text(&uploaded.stdout), @r#"uploaded DOCUMENT: 1000 bytes, CRC32C c16498e5, the same as the file's"#);

    let status = ada.command("status").arg(&session.name).run().await;
    assert_snapshot!(text(&status.stdout), @r#"
    uploadSessions/SESSION COMPLETED
      document  DOCUMENT
      name      poster.pdf (application/pdf)
      received  1000 of 1000 bytes
      owner     user ada
      created   TIME
      ended     TIME, UPLOAD_COMPLETED by user ada
    "#);

    let copy = folder.path().join("copy.pdf");
    let download = || ada.command("download").arg(&document).arg("--output").file(&copy);
    let downloaded = download().run().await;
    assert_snapshot!(text(&downloaded.stdout).replace(&copy.display().to_string(), "COPY"), @r#"downloaded COPY: 1000 bytes, CRC32C c16498e5"#);
    assert!(fs::read(&copy).expect("a copy") == sample_bytes(1000));
}

#[tokio::test]
async fn scripts_read_json() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(1000));
    let session = ada.create(&document, 1000).await.expect("a session");
    ada.send(&session, &sample_bytes(1000), 200..300).await.expect("a range");
    let pretty = |json: &str| {
        let json: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
        stable(&serde_json::to_string_pretty(&json).expect("JSON"), &session.name, &document)
    };

    let status = ada.command("status").arg(&document).arg("--json").run().await;
    assert_snapshot!(pretty(&status.stdout), @r#"
    {
      "createTime": "TIME",
      "document": "DOCUMENT",
      "endReason": "END_REASON_UNSPECIFIED",
      "etag": "SESSION",
      "expireTime": "TIME",
      "limits": {
        "maxRangeBytes": 10485760,
        "maxRanges": 4
      },
      "name": "uploadSessions/SESSION",
      "nextExpectedRanges": [
        {
          "end": 200,
          "start": 0
        },
        {
          "end": 1000,
          "start": 300
        }
      ],
      "owner": {
        "user": "ada"
      },
      "properties": {
        "contentType": "application/pdf",
        "documentName": "poster.pdf",
        "sizeBytes": 1000
      },
      "receivedBytes": 100,
      "state": "STATE_ACTIVE"
    }
    "#);

    let uploaded = upload(&ada, &document, &file).run().await;
    assert_snapshot!(pretty(&uploaded.stdout), @r#"
    {
      "document": {
        "contentType": "application/pdf",
        "crc32c": 3244595429,
        "documentName": "poster.pdf",
        "name": "DOCUMENT",
        "sizeBytes": 1000,
        "state": "STATE_UPLOADED",
        "uploadTime": "TIME"
      },
      "resumedBytes": 100,
      "sentBytes": 1000,
      "session": "uploadSessions/SESSION"
    }
    "#);

    let canceled = ada.command("cancel").arg(&session.name).arg("--json").run().await;
    assert_snapshot!(pretty(&canceled.stderr), @r#"
    {
      "error": {
        "code": "FAILED_PRECONDITION",
        "exitCode": 5,
        "message": "the upload session is completed",
        "reason": "UPLOAD_SESSION_COMPLETED"
      }
    }
    "#);
}

#[tokio::test]
async fn the_upload_url_is_printed_only_when_asked_for_and_stands_in_place_of_a_token() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(1000));
    let session = ada.create(&document, 1000).await.expect("a session");
    for form in ["--json", "--timeout=10s"] {
        let status = ada.command("status").arg(&document).arg(form).run().await;
        assert!(!status.stdout.contains("tempauthtoken"), "{}", status.stdout);
    }
    let status = ada.command("status").arg(&document).arg("--json").arg("--show-upload-url").run().await.json();
    let url = status["uploadUrl"].as_str().expect("a URL");

    let holder = |name: &str| {
        Command::new(name).env("GRPC_ADDR", &app.address.to_string()).env("PRINT_UPLOAD_URL", url).arg("--json")
    };
    assert_eq!(holder("status").run().await.json()["name"], session.name);
    assert_eq!(holder("upload").file(&file).run().await.json()["document"]["sizeBytes"], 1000);
    assert_eq!(holder("cancel").run().await.failure(), (5, "UPLOAD_SESSION_COMPLETED".into()));
}

#[tokio::test]
async fn the_command_line_takes_precedence_over_the_environment() {
    let app = App::start().await;
    let (mut ada, (_folder, file)) = (app.ada(), sample_file(1000));
    let (mine, other) = (app.new_document().await, app.new_document().await);
    let url = ada.create(&other, 1000).await.expect("a session").upload_url;
    let uploaded = upload(&ada, &mine, &file).env("PRINT_UPLOAD_URL", &url).run().await.json();
    assert_eq!(uploaded["document"]["name"], mine);

    let status = ada.command("status").arg(&mine).arg("--json");
    assert_eq!(status.env("PRINT_UPLOAD_URL", &url).run().await.json()["document"], mine);
    let status = ada.command("status").arg(&mine).arg("--json");
    assert_eq!(status.env("PRINT_UPLOAD_URL", "").run().await.json()["document"], mine);
    let holder = Command::new("status").env("GRPC_ADDR", &app.address.to_string()).arg("--json");
    let holder = holder.env("PRINT_UPLOAD_URL", &url).env("PRINT_UPLOAD_TOKEN", "nonsense");
    assert_eq!(holder.run().await.json()["document"], other);
}

#[tokio::test]
async fn watch_prints_every_change_until_the_end() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    let session = ada.create(&document, 1000).await.expect("a session");
    let watching = ada.command("watch").arg(&document).arg("--interval=20ms").start();
    watching.wait_for_text("ACTIVE, 0 of 1000 bytes").await;
    ada.send(&session, &bytes, 0..400).await.expect("a range");
    watching.wait_for_text("ACTIVE, 400 of 1000 bytes").await;
    ada.send(&session, &bytes, 400..1000).await.expect("the rest");
    let finished = watching.wait_for_end().await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(finished.stdout.lines().last(), Some(&*format!("{} COMPLETED, 1000 of 1000 bytes", session.name)));
    let lines = ada.command("watch").arg(&document).arg("--json").run().await;
    assert_eq!(lines.json()["state"], "STATE_COMPLETED", "one line, one object");
}

#[tokio::test]
async fn a_download_replaces_nothing_unless_forced() {
    let app = App::start().await;
    let (ada, document, folder) = (app.ada(), app.uploaded_document().await, tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("copy.pdf");
    let download = || ada.command("download").arg(&document).arg("--output").file(&file);
    fs::write(&file, "precious").expect("a file");
    let refused = download().run().await;
    assert_eq!(
        (refused.code, fs::read_to_string(&file).expect("it")),
        (Some(1), "precious".into()),
        "{}",
        refused.stderr
    );

    let bytes = sample_bytes(crate::harness::SIZE);
    assert_eq!(download().arg("--force").run().await.code, Some(0));
    assert!(fs::read(&file).expect("it") == bytes);
    let mode = fs::metadata(&file).expect("it").permissions().mode();
    let usual = folder.path().join("usual");
    fs::write(&usual, "").expect("a file");
    assert_eq!(mode, fs::metadata(usual).expect("it").permissions().mode(), "the mode that new files have");

    let printed = ada.command("download").arg(&document).arg("--output=-").run().await;
    assert!(printed.code == Some(0) && printed.stdout == String::from_utf8_lossy(&bytes));
    let nothing = folder.path().join("none/copy.pdf");
    assert_eq!(ada.command("download").arg(&document).arg("-o").file(&nothing).run().await.code, Some(1));
    let left: Vec<_> =
        fs::read_dir(folder.path()).expect("the folder").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(left.len(), 2, "no part is left: {left:?}");
}

#[tokio::test]
async fn a_download_replaces_nothing_but_a_file() {
    let app = App::start().await;
    let (ada, document, folder) = (app.ada(), app.uploaded_document().await, tempfile::tempdir().expect("a folder"));
    let at = |name: &str| folder.path().join(name);
    let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo runs");
    assert!(made.success());
    fs::create_dir(at("inner")).expect("a folder");
    std::os::unix::fs::symlink("pipe", at("link")).expect("a link");
    for (name, expected) in [("pipe", "no regular file"), ("link", "no regular file"), ("inner", "is a folder")] {
        let before = fs::symlink_metadata(at(name)).expect("it").file_type();
        for force in ["--force", "--json"] {
            let refused = ada.command("download").arg(&document).arg("--output").file(&at(name)).arg(force).run().await;
            assert_eq!(refused.code, Some(1), "{}", refused.stderr);
            assert!(refused.stderr.contains(expected) && !refused.stderr.contains("--force"), "{}", refused.stderr);
        }
        assert_eq!(fs::symlink_metadata(at(name)).expect("it").file_type(), before);
    }

    fs::write(at("secret"), "").expect("a file");
    fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o600)).expect("its mode");
    let replaced =
        ada.command("download").arg(&document).arg("--output").file(&at("secret")).arg("--force").run().await;
    assert_eq!(replaced.code, Some(0), "{}", replaced.stderr);
    assert_eq!(fs::metadata(at("secret")).expect("it").permissions().mode() & 0o777, 0o600);

    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    let downloaded = ada.command("download").arg(&document).arg("--json").arg("--output").file(&odd).run().await;
    assert!(downloaded.json()["file"].as_str().expect("a name").ends_with("caf\u{fffd}"));
    assert!(odd.exists());
}

#[tokio::test]
async fn a_token_file_is_as_good_as_a_token() {
    let app = App::start().await;
    let (ada, document, folder) = (app.ada(), app.uploaded_document().await, tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("token");
    fs::write(&file, format!("{}\n", ada.access_token())).expect("a file");
    let status = Command::new("status").arg(&document).arg("--token-file").file(&file).arg("--json");
    let status = status.arg(format!("--server=http://{}", app.address)).run().await.json();
    assert_eq!(status["state"], "STATE_COMPLETED");
}

#[tokio::test]
async fn completions_and_the_manual_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let finished = Command::new("completions").arg(shell).run().await;
        let script = finished.stdout;
        assert!(finished.code == Some(0) && script.contains("upload") && script.contains("limit-rate"), "{shell}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(Command::new("man").arg("--out").file(folder.path()).run().await.code, Some(0));
    let page = |name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
    assert!(page("print-upload.1").contains("upload"));
    for command in ["upload", "status", "watch", "cancel", "download"] {
        let page = page(&format!("print-upload-{command}.1"));
        assert!(page.contains(".TH") && page.contains("Exit codes:") && page.contains("130"), "{command}: {page}");
    }
    let first = Command::new("man").run().await;
    assert!(first.code == Some(0) && first.stdout.contains(".TH print-upload"), "{}", first.stdout);
}
