//! Crashes while a session is created, while a range is received and committed, and while it completes a document.

use std::{ops::Range, rc::Rc};

use print_upload::proto::{RangeHeader, upload_session::State};
use print_upload_client::range_messages;

use super::crash::{Crash, SIZE};
use crate::harness::{App, Bucket, ErrorExt, Program, chunk, eventually, header, sample_bytes, spans};

const SECOND_THIRD: Range<usize> = SIZE / 3..2 * SIZE / 3;
const LAST_THIRD: Range<usize> = 2 * SIZE / 3..SIZE;

/// The points that are reached after the range was committed.
const COMMITTED: [&str; 3] = ["range.committed", "document.completed", "range.answering"];

pub async fn create_a_session(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (document, bytes) = (crash.app.new_document().await, sample_bytes(SIZE));

    crash.during(async |app, _| app.ada().create(&document, SIZE).await).await.expect_err("no answer");

    let created = crash.count("select count(*) from upload_session").await;
    assert_eq!(created, i64::from(crash.is_at(&["create.committed"])));
    assert_eq!(crash.count("select count(*) from audit where action = 'create'").await, created);
    let session = crash.app.ada().create(&document, SIZE).await.expect("created, now or before");
    assert_eq!(crash.count("select count(*) from upload_session").await, 1);
    crash.app.ada().send(&session, &bytes, 0..SIZE).await.expect("the session can be used");
    crash.assert_downloads(&document, &bytes).await;
    crash.assert_clean().await;
}

/// The document's session is overdue, and the create ends it.
pub async fn create_in_place_of_an_overdue_session(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (old, bytes) = crash.begun_session().await;
    let sweeper_is_kept_out = crash.app.keep_from_sweeper(&old).await;
    crash.app.make_overdue(&old).await;

    crash.during(async |app, _| app.ada().create(&old.document, SIZE).await).await.expect_err("no answer");

    let new = crash.app.ada().create(&old.document, SIZE).await.expect("created, now or before");
    sweeper_is_kept_out.rollback().await.expect("unlocked");
    assert_eq!(crash.state_of(&old).await, State::Expired);
    crash.no_bytes_of(&old).await;
    crash.app.ada().send(&new, &bytes, 0..SIZE).await.expect("the new session can be used");
    crash.assert_downloads(&old.document, &bytes).await;
    crash.assert_clean().await;
}

/// The caller does not know whether the URL was renewed, and renews it again.
pub async fn renew_the_upload_url(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;

    crash.during(async |app, _| app.ada().renew(&session.name).await).await.expect_err("no answer");

    let mut ada = crash.app.ada();
    let refused = ada.holder_of(&session).get(&session.name).await.expect_err("it was committed");
    assert_eq!(refused.reason(), "UPLOAD_URL_RENEWED");
    let renewed = ada.renew(&session.name).await.expect("renewed again");
    ada.holder_of(&renewed).send(&renewed, &bytes, SIZE / 3..SIZE).await.expect("the new URL can be used");
    crash.assert_downloads(&session.document, &bytes).await;
    crash.assert_clean().await;
}

/// The range is repeated after the crash, and the document completed.
pub async fn send_a_range(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;

    crash.during(async |app, _| app.ada().send(&session, &bytes, SECOND_THIRD).await).await.expect_err("no answer");

    let mut ada = crash.app.ada();
    let seen = ada.get(&session.name).await.expect("the session");
    let missing = if crash.is_at(&COMMITTED) { LAST_THIRD } else { SECOND_THIRD.start..SIZE };
    assert_eq!((seen.state(), spans(&seen.next_expected_ranges)), (State::Active, vec![missing]));
    ada.send_with_crc32c(&session, &bytes, SECOND_THIRD).await.expect("taken, now or before");
    ada.send(&session, &bytes, LAST_THIRD).await.expect("the rest");
    crash.assert_downloads(&session.document, &bytes).await;
    crash.assert_clean().await;
}

/// The session is canceled after the crash, without a repeat of the range.
pub async fn send_a_range_and_cancel(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;

    crash.during(async |app, _| app.ada().send(&session, &bytes, SECOND_THIRD).await).await.expect_err("no answer");

    crash.app.ada().delete(&session.name).await.expect("canceled");
    crash.no_bytes_of(&session).await;
    crash.upload_again(&session.document, &bytes).await;
    crash.assert_clean().await;
}

/// The range is the last one.
pub async fn complete_a_document(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;
    crash.app.ada().send(&session, &bytes, SECOND_THIRD).await.expect("acknowledged");

    crash.during(async |app, _| app.ada().send(&session, &bytes, LAST_THIRD).await).await.expect_err("no answer");

    assert_eq!(crash.state_of(&session).await, State::Completed);
    let repeated = crash.app.ada().send(&session, &bytes, LAST_THIRD).await.expect("acknowledged once more");
    assert_eq!(repeated.state(), State::Completed);
    crash.assert_downloads(&session.document, &bytes).await;
    crash.assert_clean().await;
}

/// The range has another digest than its header says. Its bytes are dropped before they are put.
pub async fn discard_an_unpublished_fragment(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;
    let wrong = RangeHeader { crc32c: Some(17), ..header(&session, SECOND_THIRD) };
    let messages = range_messages(wrong, &bytes.slice(SECOND_THIRD));

    crash.during(async |app, _| app.ada().send_messages(messages).await).await.expect_err("no answer");

    crash.app.ada().send(&session, &bytes, SECOND_THIRD.start..SIZE).await.expect("the right bytes");
    crash.assert_downloads(&session.document, &bytes).await;
    crash.assert_clean().await;
}

/// Another writer has committed a part of the range. The object is dropped after it was put.
pub async fn discard_a_published_fragment(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;
    let bucket = Rc::clone(&crash.bucket);

    let raced = async |app: &App, program: &Program| {
        let (sender, answer) = app.ada().stall(&session, &bytes, SECOND_THIRD);
        eventually("it is under way", async || bucket.ranges_under_way_in(program.id()) == 1).await;
        app.ada().send(&session, &bytes, SIZE / 2..SIZE).await.expect("acknowledged");
        sender.send(chunk(vec![bytes[SECOND_THIRD.end - 1]])).await.expect("the range is still under way");
        drop(sender);
        answer.await.expect("no panic")
    };
    crash.during(raced).await.expect_err("no answer");

    let seen = crash.app.ada().get(&session.name).await.expect("the session");
    assert_eq!(spans(&seen.next_expected_ranges), [SECOND_THIRD.start..SIZE / 2]);
    crash.app.ada().send(&session, &bytes, SECOND_THIRD.start..SIZE / 2).await.expect("the rest");
    crash.assert_downloads(&session.document, &bytes).await;
    crash.assert_clean().await;
}
