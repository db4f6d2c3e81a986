//! `print-upload upload` is ended from outside: by Ctrl-C, a signal, or a cancel of its session.

use std::{path::Path, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use print_upload::proto::upload_session::State;
use tokio::io::AsyncReadExt;

use super::{LARGE, PACE, RANGE, sample_file, slow_upload, under_way, upload};
use crate::harness::{Actor, App, Command, crc32c, eventually, sample_bytes};

const QUESTION: &str = "Keep the upload session, to resume later, or cancel the upload? [K/c]";
/// A part of the progress bar.
const BAR: &str = " of 5.72 MiB  ";

#[tokio::test]
async fn canceled_from_elsewhere_it_ends() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let uploading = slow_upload(&ada, &document, &file).start();
    let session = under_way(&mut ada, &document).await;

    let canceled = ada.command("cancel").arg(&session.name).run().await;
    assert_eq!((canceled.code, canceled.stdout), (Some(0), format!("canceled {}\n", session.name)));

    let finished = uploading.wait_for_end().await;
    assert_eq!(finished.failure(), (5, "UPLOAD_SESSION_CANCELED".into()));
    assert!(finished.stderr.contains(&session.name), "{}", finished.stderr);
}

#[tokio::test]
async fn without_a_terminal_a_signal_keeps_the_session() {
    let app = App::start().await;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
        let uploading = slow_upload(&ada, &document, &file).start();
        let session = under_way(&mut ada, &document).await;

        uploading.signal(signal);

        let finished = uploading.wait_for_end().await;
        assert_eq!(finished.failure().0, code);
        assert!(finished.stderr.contains(&format!("print-upload cancel {}", session.name)), "{}", finished.stderr);
        assert_eq!(state_of(&mut ada, &session.name).await, State::Active);
        upload(&ada, &document, &file).run().await.json();
    }
}

#[tokio::test]
async fn a_signal_cancels_the_upload_where_that_was_asked_for() {
    let app = App::start().await;
    // Also for a caller who may upload and not cancel: the upload URL permits it.
    for actor in [app.ada(), app.ada_who_may_not_read()] {
        let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
        let uploading = slow_upload(&actor, &document, &file).arg("--on-interrupt=cancel").start();
        let session = under_way(&mut ada, &document).await;

        uploading.signal(Signal::SIGTERM);

        assert_eq!(uploading.wait_for_end().await.failure(), (5, "UPLOAD_SESSION_CANCELED".into()));
        assert_eq!(state_of(&mut ada, &session.name).await, State::Canceled);
    }
}

#[tokio::test]
async fn on_a_terminal_it_asks_and_follows_the_answer() {
    let app = App::start().await;
    let table = [("c\n", 5, State::Canceled), ("\n", 130, State::Active), ("k\n", 130, State::Active)];
    for (answer, code, state) in table {
        let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
        let mut uploading = upload_with_bar(&ada, &document, &file).start_on_terminal();
        let session = under_way(&mut ada, &document).await;
        // The first range is committed before the bar is drawn.
        uploading.wait_for_text(BAR).await;
        uploading.wait_for_text("iB/s  ").await;
        uploading.wait_for_text("s left").await;

        uploading.type_in("\x03").await;
        uploading.wait_for_text(QUESTION).await;
        uploading.type_in(answer).await;

        let finished = uploading.wait_for_end().await;
        assert_eq!(finished.code, Some(code), "{answer:?}: {}", finished.stdout);
        assert_eq!(state_of(&mut ada, &session.name).await, state, "{answer:?}");
    }
}

#[tokio::test]
async fn on_a_terminal_that_shows_no_bar_it_asks_all_the_same() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let mut uploading = upload_with_bar(&ada, &document, &file).env("TERM", "dumb").start_on_terminal();
    let session = under_way(&mut ada, &document).await;

    uploading.type_in("\x03").await;
    uploading.wait_for_text(QUESTION).await;
    uploading.type_in("c\n").await;

    let finished = uploading.wait_for_end().await;
    assert_eq!(finished.code, Some(5), "{}", finished.stdout);
    assert!(!finished.stdout.contains(BAR), "{}", finished.stdout);
    assert_eq!(state_of(&mut ada, &session.name).await, State::Canceled);
}

#[tokio::test]
async fn a_second_interrupt_leaves_at_once_and_keeps_the_session() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let mut uploading = upload_with_bar(&ada, &document, &file).start_on_terminal();
    let session = under_way(&mut ada, &document).await;

    uploading.type_in("\x03").await;
    uploading.wait_for_text(QUESTION).await;
    uploading.type_in("\x03").await;

    let finished = uploading.wait_for_end().await;
    assert_eq!(finished.code, Some(130), "{}", finished.stdout);
    assert_eq!(state_of(&mut ada, &session.name).await, State::Active);
    let report = upload(&ada, &document, &file).run().await.json();
    assert_eq!(report["document"]["crc32c"], crc32c(&sample_bytes(LARGE)));
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_the_cancel() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let uploading = slow_upload(&ada, &document, &file).arg("--on-interrupt=cancel").start();
    let session = under_way(&mut ada, &document).await;
    let locked = app.lock(&session).await;

    uploading.signal(Signal::SIGTERM);
    eventually("the cancel waits", async || app.waiting_cancels().await == 1).await;
    uploading.signal(Signal::SIGINT);

    let finished = uploading.wait_for_end().await;
    assert_eq!(finished.failure().0, 130);
    assert!(finished.stderr.contains(&format!("print-upload status {}", session.name)), "{}", finished.stderr);
    locked.rollback().await.expect("the lock is released");
    eventually("it is canceled", async || state_of(&mut ada, &session.name).await == State::Canceled).await;
}

#[tokio::test]
async fn a_download_that_nobody_reads_ends_when_it_is_asked_to() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    ada.upload(&document, &sample_bytes(LARGE)).await.expect("an upload");
    let mut download = ada.command("download").arg(&document).arg("--output=-").process();
    let mut downloading = download.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    // The download has started. No process reads on, so the pipe fills up.
    let mut unread = downloading.stdout.take().expect("piped");
    unread.read_u8().await.expect("a byte");

    let pid = downloading.id().expect("it is running");
    kill(Pid::from_raw(pid.try_into().expect("a process id")), Signal::SIGTERM).expect("the signal is sent");

    assert_eq!(downloading.wait().await.expect("it ends").code(), Some(143));
}

/// A slow upload with a progress bar.
fn upload_with_bar(actor: &Actor, document: &str, file: &Path) -> Command {
    let command = actor.command("upload").file(file).arg(format!("--document={document}"));
    command.arg(RANGE).arg(PACE)
}

async fn state_of(actor: &mut Actor, session: &str) -> State {
    actor.get(session).await.expect("the session").state()
}
