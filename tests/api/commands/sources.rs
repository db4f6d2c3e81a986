//! Where the bytes of an upload come from: pipes, standard input, files that somebody touches meanwhile.

use std::{
    fs::{File, Permissions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
    process::{Output, Stdio},
    time::SystemTime,
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command as Process};

use super::{LARGE, sample_file, slow_upload, under_way, upload};
use crate::harness::{App, crc32c, sample_bytes};

const SIZE: usize = 300_000;

/// Runs a command with bytes on its standard input.
async fn run_with_input(mut process: Process, bytes: &[u8]) -> Output {
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(bytes).await.expect("it reads");
    drop(stdin);
    child.wait_with_output().await.expect("it ends")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test]
async fn standard_input_is_uploaded() {
    let app = App::start().await;
    let bytes = sample_bytes(SIZE);
    for file in ["-", "/dev/stdin"] {
        let document = app.new_document().await;
        let report = json(&run_with_input(upload(&app.ada(), &document, Path::new(file)).process(), &bytes).await);
        assert_eq!(report["document"]["crc32c"], crc32c(&bytes));
        assert_eq!(report["document"]["documentName"], "stdin");
        assert_eq!(app.ada().download(&document, 0).await.expect("the document").1, bytes);
    }
    let document = app.new_document().await;
    let named = upload(&app.ada(), &document, Path::new("-")).arg("--name=a.pdf").process();
    assert_eq!(json(&run_with_input(named, &bytes).await)["document"]["documentName"], "a.pdf");
    let empty = run_with_input(upload(&app.ada(), &app.new_document().await, Path::new("-")).process(), b"").await;
    assert!(empty.status.code() == Some(1) && String::from_utf8_lossy(&empty.stderr).contains("is empty"), "{empty:?}");
}

#[tokio::test]
async fn a_named_pipe_is_uploaded_and_an_interrupted_upload_of_one_resumes() {
    let app = App::start().await;
    let (mut ada, document, (folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let pipe = folder.path().join("pipe.pdf");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let feed = || {
        let (file, pipe) = (file.clone(), pipe.clone());
        std::thread::spawn(move || std::fs::copy(file, pipe))
    };
    let feeding = feed();
    let interrupted = slow_upload(&ada, &document, &pipe).start();
    let session = under_way(&mut ada, &document).await;
    interrupted.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(interrupted.wait_for_end().await.failure().0, 143);
    feeding.join().expect("no panic").expect("copied");

    let feeding = feed();
    let report = upload(&ada, &document, &pipe).run().await.json();
    feeding.join().expect("no panic").expect("copied");
    assert_eq!(report["session"], session.name);
    assert_eq!(report["document"]["documentName"], "pipe.pdf");
    assert_eq!(report["document"]["crc32c"], crc32c(&sample_bytes(LARGE)));
    assert!(report["resumedBytes"].as_i64() > Some(0), "{report}");
}

#[tokio::test]
async fn waiting_for_a_pipe_can_be_interrupted() {
    let app = App::start().await;
    let mut process = upload(&app.ada(), &app.new_document().await, Path::new("-")).process();
    process.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process.spawn().expect("it starts");
    let _open = child.stdin.take();
    let pid = nix::unistd::Pid::from_raw(child.id().expect("running").try_into().expect("a process id"));
    let handles_sigterm = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("signals").trim().to_owned();
        u64::from_str_radix(&caught, 16).expect("a mask") & (1 << 14) != 0
    };
    crate::harness::eventually("it listens for signals", async || handles_sigterm()).await;
    // The handler is there a moment before the program waits for it: a signal in between is lost.
    let mut status = None;
    crate::harness::eventually("it ends", async || {
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("sent");
        status = child.try_wait().expect("a status");
        status.is_some()
    })
    .await;
    assert_eq!(status.expect("an end").code(), Some(143));
}

#[tokio::test]
async fn a_file_that_is_only_touched_while_it_is_uploaded_has_not_changed() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(1_000_000));
    let uploading = slow_upload(&ada, &document, &file).start();
    under_way(&mut ada, &document).await;
    let touched = File::options().write(true).open(&file).expect("a file");
    touched.set_modified(SystemTime::UNIX_EPOCH).expect("touched");
    std::fs::set_permissions(&file, Permissions::from_mode(0o400)).expect("chmod");
    touched.write_all_at(&sample_bytes(1_000_000)[..1000], 0).expect("the same bytes");

    let report = uploading.wait_for_end().await.json();
    assert_eq!(report["document"]["crc32c"], crc32c(&sample_bytes(1_000_000)));
}

#[tokio::test]
async fn an_upload_goes_on_with_its_upload_url_when_the_access_token_ends() {
    let app = App::start().await;
    let (mut ada, document, (folder, file)) = (app.ada(), app.new_document().await, sample_file(1_000_000));
    let token = folder.path().join("token");
    std::fs::write(&token, ada.access_token()).expect("a file");
    let command = || {
        let command = slow_upload(&ada, &document, &file).arg(format!("--token-file={}", token.display()));
        command.env("PRINT_UPLOAD_TOKEN", "")
    };
    let uploading = command().start();
    let session = under_way(&mut ada, &document).await;
    let long_ago = jsonwebtoken::get_current_timestamp() - 600;
    std::fs::write(&token, crate::harness::user_claims().with("exp", long_ago).signed()).expect("a file");

    let report = uploading.wait_for_end().await.json();
    assert_eq!(
        (&report["session"], &report["document"]["crc32c"]),
        (&session.name.into(), &crc32c(&sample_bytes(1_000_000)).into())
    );
}
