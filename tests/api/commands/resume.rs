//! `print-upload upload` when something breaks: what was acknowledged is not sent again.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use nix::sys::signal::Signal;
use print_upload::proto::{UploadSession, upload_session::State};
use tempfile::TempDir;

use crate::harness::{Actor, App, Command, Program, crc32c, eventually, sample_bytes};

/// So large, in ranges so small and at such a pace that the upload takes half a minute; without a pace it takes no time.
pub const LARGE: usize = 6_000_000;
pub const RANGE: &str = "--range-size=50KiB";
const RANGE_BYTES: i64 = 50 * 1024;
pub const PACE: &str = "--limit-rate=256KiB";

/// A file with sample bytes.
pub fn sample_file(length: usize) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("poster.pdf");
    std::fs::write(&file, sample_bytes(length)).expect("a file");
    (folder, file)
}

/// An upload in small ranges.
pub fn upload(actor: &Actor, document: &str, file: &std::path::Path) -> Command {
    actor.command("upload").file(file).arg(format!("--document={document}")).arg(RANGE).arg("--json")
}

/// The same, so slow that there is time to disturb it, also on a machine that is busy. Nobody waits for its own end.
pub fn slow_upload(actor: &Actor, document: &str, file: &std::path::Path) -> Command {
    upload(actor, document, file).arg(PACE)
}

/// Waits until some of an upload is committed, and tells its session.
pub async fn under_way(actor: &mut Actor, document: &str) -> UploadSession {
    let (name, mut found) = (format!("{document}/uploadSession"), None);
    eventually("a range is committed", async || {
        found = actor.get(&name).await.ok().filter(|session| session.received_bytes > 0);
        found.is_some()
    })
    .await;
    let session = found.expect("a session");
    assert_eq!(session.state(), State::Active);
    session
}

#[tokio::test]
async fn an_upload_that_was_killed_goes_on_where_it_was() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let killed = slow_upload(&ada, &document, &file).start();
    let session = under_way(&mut ada, &document).await;
    killed.signal(Signal::SIGKILL);
    assert_eq!(killed.ended().await.code, None, "killed");

    let report = upload(&ada, &document, &file).run().await.json();

    assert_eq!(report["session"], session.name);
    let resumed = report["resumedBytes"].as_i64().expect("a number");
    assert!(resumed >= session.received_bytes, "{report}");
    let sent = report["sentBytes"].as_i64().expect("a number");
    let missing = LARGE as i64 - resumed;
    assert!(
        (missing + 1..=missing + 16 * RANGE_BYTES).contains(&sent),
        "what was missing, and a little of what was there: {report}"
    );
    assert_eq!(report["document"]["crc32c"], crc32c(&sample_bytes(LARGE)));
    assert!(ada.download(&document, 0).await.expect("a download").1 == sample_bytes(LARGE));

    let again = upload(&ada, &document, &file).run().await.json();
    assert_eq!((&again["session"], &again["sentBytes"]), (&serde_json::Value::Null, &0.into()), "{again}");
}

#[tokio::test]
async fn an_upload_outlives_the_service() {
    let mut app = App::start().await;
    let document = app.new_document().await;
    app.stop().await;
    let (address, (_folder, file)) = (app.address, sample_file(LARGE));
    let program = Program::serve_at(&mut app, address).await;
    let mut ada = app.ada();
    let uploading = upload(&ada, &document, &file).arg("--limit-rate=768KiB").start();
    let session = under_way(&mut ada, &document).await;

    program.kill().await;
    let _program = Program::serve_at(&mut app, address).await;

    let finished = uploading.ended().await;
    let report = finished.json();
    assert_eq!(report["session"], session.name);
    assert_eq!(report["document"]["crc32c"], crc32c(&sample_bytes(LARGE)));
    let sent = report["sentBytes"].as_i64().expect("a number");
    let in_flight = 4 * RANGE_BYTES;
    assert!((LARGE as i64..=LARGE as i64 + in_flight).contains(&sent), "what was on its way, and no more: {report}");
}

#[tokio::test]
async fn two_runs_of_the_same_upload_are_one_upload() {
    let app = App::start().await;
    let (ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let runs = [(); 2].map(|()| upload(&ada, &document, &file).start());
    for run in runs {
        assert_eq!(run.ended().await.json()["document"]["crc32c"], crc32c(&sample_bytes(LARGE)));
    }
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_uploaded_is_told_before_anything_is_complete() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let uploading = slow_upload(&ada, &document, &file).start();
    let session = under_way(&mut ada, &document).await;
    std::fs::write(&file, vec![7; LARGE]).expect("written");

    let finished = uploading.ended().await;
    assert_eq!(finished.failure().0, 7);
    assert!(finished.stderr.contains("was changed while it was uploaded"), "{}", finished.stderr);

    let again = upload(&ada, &document, &file).run().await;
    assert_eq!(again.failure().0, 7);
    assert!(again.stderr.contains("holds other bytes than"), "{}", again.stderr);
    assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Active);
}

#[tokio::test]
async fn another_file_of_the_same_size_is_not_mixed_into_an_upload() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let session = ada.create(&document, LARGE).await.expect("a session");
    ada.send(&session, &vec![7; LARGE].into(), 1000..2000).await.expect("other bytes");
    // As if it had always been like this: the time of a file says nothing about its bytes.
    set_modified(&file, SystemTime::UNIX_EPOCH);

    let finished = upload(&ada, &document, &file).run().await;

    assert_eq!(finished.failure(), (7, String::new()));
    assert!(finished.stderr.contains("holds other bytes than"), "{}", finished.stderr);
    assert_eq!(ada.get(&session.name).await.expect("the session").received_bytes, 1000, "nothing was sent");
}

#[tokio::test]
async fn a_file_that_seems_to_be_of_tomorrow_is_resumed() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let session = ada.create(&document, LARGE).await.expect("a session");
    ada.send(&session, &sample_bytes(LARGE), 1000..300_000).await.expect("a range");
    set_modified(&file, SystemTime::now() + Duration::from_secs(86_400));

    let report = upload(&ada, &document, &file).run().await.json();
    assert_eq!(
        report["sentBytes"],
        LARGE as i64 - 299_000 + 2 * RANGE_BYTES,
        "what was missing, and both ends of the rest"
    );
}

fn set_modified(file: &Path, time: SystemTime) {
    File::options().write(true).open(file).expect("the file").set_modified(time).expect("a time");
}

#[tokio::test]
async fn a_document_that_is_not_the_file_is_told() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let session = ada.create(&document, LARGE).await.expect("a session");
    // Others in the middle, where nobody looks before the end.
    let mut bytes = sample_bytes(LARGE).to_vec();
    bytes[150_000] ^= 1;
    ada.send(&session, &bytes.into(), 0..300_000).await.expect("other bytes");

    let finished = upload(&ada, &document, &file).run().await;

    assert_eq!(finished.failure().0, 7);
    assert!(finished.stderr.contains("CRC32C"), "{}", finished.stderr);
}

#[tokio::test]
async fn an_upload_takes_what_the_service_takes() {
    let app = App::with([("max-range-bytes", "1000000"), ("max-writers", "2")]).await;
    let (ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let command = ada.command("upload").file(&file).arg(format!("--document={document}")).arg("--json");
    assert_eq!(command.run().await.json()["document"]["crc32c"], crc32c(&sample_bytes(LARGE)));
}
