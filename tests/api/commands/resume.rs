//! `print-upload upload` when something breaks: what was acknowledged is not sent again.

use std::{
    fs::File,
    path::Path,
    time::{Duration, SystemTime},
};

use nix::sys::signal::Signal;
use print_upload::proto::upload_session::State;

use super::{LARGE, RANGE_BYTES, sample_file, slow_upload, under_way, upload};
use crate::harness::{App, Program, crc32c, sample_bytes};

#[tokio::test]
async fn an_upload_that_was_killed_goes_on_where_it_was() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let killed = slow_upload(&ada, &document, &file).start();
    let session = under_way(&mut ada, &document).await;
    killed.signal(Signal::SIGKILL);
    assert_eq!(killed.wait_for_end().await.code, None, "killed");

    let report = upload(&ada, &document, &file).run().await.json();

    assert_eq!(report["session"], session.name);
    let resumed = report["resumedBytes"].as_i64().expect("a number");
    assert!(resumed >= session.received_bytes, "{report}");
    let sent = report["sentBytes"].as_i64().expect("a number");
    let missing = LARGE as i64 - resumed;
    assert!(
        (missing + 1..=missing + 16 * RANGE_BYTES).contains(&sent),
        "what was missing, and a few bytes more, to compare: {report}"
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

    let finished = uploading.wait_for_end().await;
    let report = finished.json();
    assert_eq!(report["session"], session.name);
    assert_eq!(report["document"]["crc32c"], crc32c(&sample_bytes(LARGE)));
    let sent = report["sentBytes"].as_i64().expect("a number");
    let in_flight = 4 * RANGE_BYTES;
    assert!(
        (LARGE as i64..=LARGE as i64 + in_flight).contains(&sent),
        "at most the ranges in flight are sent twice: {report}"
    );
}

#[tokio::test]
async fn two_runs_of_the_same_upload_are_one_upload() {
    let app = App::start().await;
    let (ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let runs = [(); 2].map(|()| upload(&ada, &document, &file).start());
    for run in runs {
        assert_eq!(run.wait_for_end().await.json()["document"]["crc32c"], crc32c(&sample_bytes(LARGE)));
    }
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_uploaded_is_reported_before_anything_is_complete() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let uploading = slow_upload(&ada, &document, &file).start();
    let session = under_way(&mut ada, &document).await;
    std::fs::write(&file, vec![7; LARGE]).expect("written");

    let finished = uploading.wait_for_end().await;
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
    // An old file: its modification time must not decide which bytes it holds.
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
async fn a_document_that_is_not_the_file_is_reported() {
    let app = App::start().await;
    let (mut ada, document, (_folder, file)) = (app.ada(), app.new_document().await, sample_file(LARGE));
    let session = ada.create(&document, LARGE).await.expect("a session");
    // Other bytes in the middle, which are compared only at the end.
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
