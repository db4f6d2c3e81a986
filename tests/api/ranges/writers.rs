//! Several writers at once on one session.

use std::ops::Range;

use print_upload::proto::{UploadSession, upload_session::State};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::harness::{
    Actor, App, Digest, ErrorExt, FOREIGN_TENANT, Stalled, TENANT, chunk, eventually, header, sample_bytes, spans,
};

/// Sends the last byte of a stalled range, and ends it.
async fn finish(stalled: Stalled, last: u8) -> Result<print_upload::proto::UploadRangeResponse, tonic::Status> {
    let (sender, answer) = stalled;
    sender.send(chunk(vec![last])).await.expect("the range is still under way");
    drop(sender);
    answer.await.expect("no panic")
}

/// Waits until `ranges` ranges are being stored. From then on the bytes that each will contribute are fixed.
async fn until_under_way(app: &App, session: &UploadSession, ranges: usize) {
    eventually("the ranges are under way", async || app.files_of(session).len() == ranges).await;
}

#[tokio::test]
async fn four_writers_send_disjoint_ranges_at_once() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(4_000_000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");

    let quarters = [0..1_000_000, 1_000_000..2_000_000, 2_000_000..3_000_000, 3_000_000..4_000_000];
    let stalled: Vec<Stalled> = quarters.iter().map(|range| ada.stall(&session, &bytes, range.clone())).collect();
    until_under_way(&app, &session, 4).await;

    let mut completed = 0;
    for (stalled, range) in stalled.into_iter().zip(&quarters) {
        let answer = finish(stalled, bytes[range.end - 1]).await.expect("a quarter");
        completed += usize::from(answer.state() == State::Completed);
    }
    assert_eq!(completed, 1, "exactly one range completes the document");
    let (_, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert!(downloaded == bytes);
}

/// The commit that waits sees the row as the one before it has left it: Postgres evaluates the statement again.
#[tokio::test]
async fn two_halves_that_wait_for_the_row_complete_the_document() {
    let app = App::start().await;
    let (mut ada, mut again, document) = (app.ada(), app.ada(), app.new_document().await);
    let bytes = sample_bytes(1000);
    let session = ada.create(&document, bytes.len()).await.expect("a session");

    let row = app.lock(&session).await;
    let release = async {
        eventually("both commits wait for the row", async || app.waiting_statements().await == 2).await;
        row.rollback().await.expect("the row is released");
    };
    let (first, second, ()) =
        tokio::join!(ada.send(&session, &bytes, 0..500), again.send(&session, &bytes, 500..1000), release,);

    let states = [first, second].map(|half| half.expect("a half").state());
    assert!(states.contains(&State::Active) && states.contains(&State::Completed), "{states:?}");
    let (_, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert!(downloaded == bytes);
}

#[tokio::test]
async fn a_fifth_writer_waits_until_a_permit_is_returned() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let stalled: Vec<Stalled> =
        (0..4).map(|writer| ada.stall(&session, &bytes, writer * 100..(writer + 1) * 100)).collect();
    until_under_way(&app, &session, 4).await;

    let fifth = ada.send(&session, &bytes, 400..500).await.expect_err("too many writers");
    assert_eq!(fifth.code_and_reason(), (Code::ResourceExhausted, "TOO_MANY_WRITERS".into()));
    assert_eq!(fifth.metadata_of("max_writers").as_deref(), Some("4"));
    assert!(fifth.retry_delay().is_some());
    assert_eq!(ada.get(&session.name).await.expect("the session").received_bytes, 0);

    // Another session has permits of its own.
    let other = ada.create(&app.new_document().await, bytes.len()).await.expect("another session");
    ada.send(&other, &bytes, 0..100).await.expect("a range of another session");

    let mut stalled = stalled.into_iter();
    finish(stalled.next().expect("a writer"), bytes[99]).await.expect("the first range");
    let answer = ada.send(&session, &bytes, 400..500).await.expect("a permit is free again");
    assert_eq!(spans(&answer.next_expected_ranges), [100..400, 500..1000]);
    for (stalled, last) in stalled.zip([199, 299, 399]) {
        finish(stalled, bytes[last]).await.expect("the others go on");
    }
    let session = ada.get(&session.name).await.expect("the session");
    assert_eq!(spans(&session.next_expected_ranges), [500..1000]);
}

#[tokio::test]
async fn of_two_ranges_that_overlap_the_slower_one_is_asked_to_send_what_is_missing() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let slower = ada.stall(&session, &bytes, 0..600);
    until_under_way(&app, &session, 1).await;
    ada.send(&session, &bytes, 400..800).await.expect("the faster range");

    let raced = finish(slower, bytes[599]).await.expect_err("raced");
    assert_eq!(raced.code_and_reason(), (Code::Aborted, "RANGE_RACED".into()));
    assert!(raced.retry_delay().is_some());
    assert_eq!(app.files_of(&session).len(), 1, "the slower one leaves nothing");
    let missing = ada.get(&session.name).await.expect("the session").next_expected_ranges;
    assert_eq!(spans(&missing), [0..400, 800..1000]);

    ada.send(&session, &bytes, 0..600).await.expect("the same range again contributes the rest");
    ada.send(&session, &bytes, 800..1000).await.expect("the end");
    let (_, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert!(downloaded == bytes);
}

#[tokio::test]
async fn a_range_that_others_have_received_meanwhile_is_compared_by_its_digest() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let mut others = bytes.to_vec();
    others[5] ^= 1;
    let range = header(&session, 0..600);
    let stalled = [
        ada.stall_with(range.clone(), &bytes.slice(0..600)),
        ada.stall_with(Digest::Both.put_on(range.clone(), &bytes[0..600]), &bytes.slice(0..600)),
        ada.stall_with(Digest::Both.put_on(range, &others[0..600]), &others[0..600].to_vec().into()),
    ];
    until_under_way(&app, &session, 3).await;
    ada.send(&session, &bytes, 0..700).await.expect("a faster range");

    let [plain, same, other] = stalled;
    let refused = finish(plain, bytes[599]).await.expect_err("received already");
    assert_eq!(refused.code_and_reason(), (Code::AlreadyExists, "RANGE_ALREADY_RECEIVED".into()));
    let acknowledged = finish(same, bytes[599]).await.expect("the same bytes");
    assert_eq!(spans(&acknowledged.next_expected_ranges), [700..1000]);
    let refused = finish(other, bytes[599]).await.expect_err("other bytes");
    assert_eq!(refused.code_and_reason(), (Code::Aborted, "DIGEST_CONFLICT".into()));
    assert_eq!(app.files_of(&session).len(), 1, "only the faster range is kept");
}

#[tokio::test]
async fn four_writers_of_overlapping_ranges_lose_no_acknowledged_byte() {
    const LENGTH: usize = 400_000;
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(LENGTH));
    let session = ada.create(&document, LENGTH).await.expect("a session");

    // They leave out the last tenth, so that the session is still active afterwards.
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let (ada, session, bytes) = (ada.clone(), session.clone(), bytes.clone());
        let ranges = (0..12).map(|turn| (turn * 7 + writer * 3) % 12 * 28_000).map(|start| start..start + 50_000);
        writers.spawn(write_all(ada, session, bytes, ranges.collect()));
    }
    let acknowledged: Vec<Range<usize>> = writers.join_all().await.into_iter().flatten().collect();

    let active = ada.get(&session.name).await.expect("the session");
    for missing in spans(&active.next_expected_ranges) {
        let lost = acknowledged.iter().find(|range| range.start < missing.end && missing.start < range.end);
        assert_eq!(lost, None, "{missing:?} was acknowledged");
        ada.send(&session, &bytes, missing).await.expect("a missing range");
    }
    let (uploaded, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert!(downloaded == bytes && uploaded.crc32c == Some(crc32c::crc32c(&bytes)));
}

/// Sends every range once and returns those that were acknowledged.
async fn write_all(
    mut ada: Actor,
    session: UploadSession,
    bytes: bytes::Bytes,
    ranges: Vec<Range<usize>>,
) -> Vec<Range<usize>> {
    let mut acknowledged = Vec::new();
    for range in ranges {
        match ada.send(&session, &bytes, range.clone()).await {
            Ok(_) => acknowledged.push(range),
            Err(status) => {
                let expected = [(Code::Aborted, "RANGE_RACED"), (Code::AlreadyExists, "RANGE_ALREADY_RECEIVED")];
                let expected = expected.map(|(code, reason)| (code, reason.to_owned()));
                assert!(expected.contains(&status.code_and_reason()), "{status:?}");
            }
        }
    }
    acknowledged
}

/// A call that never sends anything, not even the header.
fn silent(actor: &Actor) -> Stalled {
    let (sender, nothing) = mpsc::channel(1);
    let mut sessions = actor.client.sessions.clone();
    (sender, tokio::spawn(async move { Ok(sessions.upload_range(ReceiverStream::new(nothing)).await?.into_inner()) }))
}

/// Of eight permits, calls that have sent nothing may hold two for each caller and four for each tenant.
#[tokio::test]
async fn whoever_sends_nothing_keeps_nobody_else_out() {
    let app = App::with([("max-transfers", "8")]).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    let user = |name: &str| app.user(TENANT, name, &["PrintJob.Create", "Printer.Read.All"]);
    let names = ["mallory", "mallory", "oscar", "oscar"];
    let mut held = names.map(|name| silent(&user(name)));

    for full in [user("mallory"), user("trudy")] {
        eventually("no more calls without a header are accepted", async || {
            // A call that came together with the last attempt was refused. Replace it, and give it the time to come first.
            let refused_before = names.iter().zip(&mut held).filter(|(_, (_, answer))| answer.is_finished());
            let replaced = refused_before.map(|(name, one)| *one = silent(&user(name))).count();
            if replaced > 0 {
                return false;
            }
            let refused = full.clone().send(&session, &bytes, 0..1000).await.expect_err("it is not theirs");
            refused.reason() == "TOO_MANY_TRANSFERS"
        })
        .await;
    }
    let stranger = app.user(FOREIGN_TENANT, "stranger", &["PrintJob.Create", "Printer.Read.All"]);
    let refused = stranger.clone().send(&session, &bytes, 0..1000).await.expect_err("it is not theirs");
    assert_eq!(refused.reason(), "UPLOAD_SESSION_NOT_FOUND", "permits are free for other tenants");
    drop(held);
    eventually("their permits are returned", async || ada.send(&session, &bytes, 0..1000).await.is_ok()).await;
}

/// A permit is taken before anything of a range is read, and returned however the range ends.
#[tokio::test]
async fn a_replica_receives_only_so_many_ranges_at_once() {
    let app = App::with([("max-transfers", "1")]).await;
    let (mut ada, mut bob, bytes) = (app.ada(), app.bob(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");

    let (sender, silent) = silent(&ada);
    eventually("the silent call has the permit", async || {
        let refused = bob.send(&session, &bytes, 0..1000).await.expect_err("it is not bob's");
        refused.reason() == "TOO_MANY_TRANSFERS"
    })
    .await;
    drop(sender);
    let refused = silent.await.expect("no panic").expect_err("it sent nothing");
    assert_eq!(refused.reason(), "FIRST_MESSAGE_MISSING");
    let refused = bob.send(&session, &bytes, 0..1000).await.expect_err("it is not bob's");
    assert_eq!(refused.reason(), "NOT_SESSION_OWNER");

    let (_still_held, stalled) = ada.stall(&session, &bytes, 0..1000);
    until_under_way(&app, &session, 1).await;
    let refused = ada.send(&session, &bytes, 1000..2000).await.expect_err("one too many");
    assert_eq!(refused.code_and_reason(), (Code::ResourceExhausted, "TOO_MANY_TRANSFERS".into()));
    ada.delete(&session.name).await.expect("deleted");
    stalled.await.expect("no panic").expect_err("canceled");

    let session = ada.create(&session.document, bytes.len()).await.expect("another session");
    ada.send(&session, &bytes, 0..2000).await.expect("the permit is free again");
}
