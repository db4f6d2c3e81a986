//! Bodies that do not match their header: a clear error, nothing is lost, and no staged file is left.

use bytes::Bytes;
use print_upload::proto::{RangeHeader, UploadRangeRequest, UploadSession, upload_range_request::Content};
use tonic::Code;

use crate::harness::{Actor, App, Digest, ErrorExt, chunk, eventually, header, sample_bytes, spans};

const MIB: usize = 1 << 20;

fn first(header: RangeHeader) -> UploadRangeRequest {
    UploadRangeRequest { content: Some(Content::Header(header)) }
}

/// Nothing was received, and nothing is in the store.
async fn assert_nothing_left(app: &App, ada: &mut Actor, session: &UploadSession) {
    let now = ada.get(&session.name).await.expect("the session");
    assert_eq!((now.received_bytes, now.next_expected_ranges), (0, session.next_expected_ranges.clone()));
    assert!(app.files_of(session).is_empty(), "no staged file is left");
}

#[tokio::test]
async fn a_body_is_exactly_as_long_as_its_range() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(3 * MIB));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let cases = [
        ("nothing", 0..10, 0),
        ("one byte short", 0..10, 9),
        ("one byte short of several chunks", 0..3 * MIB, 3 * MIB - 1),
        ("one byte too long", 0..10, 11),
        ("one byte too long after several chunks", 0..2 * MIB, 2 * MIB + 1),
        ("far too long", 0..1, 3 * MIB),
    ];
    for (what, range, length) in cases {
        for digest in [Digest::None, Digest::Both] {
            let header = digest.put_on(header(&session, range.clone()), &bytes[range.clone()]);
            let refused = ada.client.upload_range(header, bytes.slice(..length)).await.expect_err(what);
            let expected = (Code::InvalidArgument, "RANGE_LENGTH_MISMATCH".into());
            assert_eq!(refused.code_and_reason(), expected, "{what}, {digest:?}");
        }
    }
    assert_nothing_left(&app, &mut ada, &session).await;

    // The same for a repeated range, which is only compared.
    ada.send(&session, &bytes, 0..10).await.expect("a range");
    for length in [0, 9, 11, 2 * MIB] {
        let header = Digest::Crc32c.put_on(header(&session, 0..10), &bytes[..length]);
        let refused = ada.client.upload_range(header, bytes.slice(..length)).await.expect_err("another length");
        assert_eq!(refused.code_and_reason(), (Code::InvalidArgument, "RANGE_LENGTH_MISMATCH".into()), "{length}");
    }
    let session = ada.get(&session.name).await.expect("the session");
    assert_eq!(spans(&session.next_expected_ranges), [10..3 * MIB]);
    assert_eq!(app.files_of(&session).len(), 1);
}

#[tokio::test]
async fn a_stream_is_one_header_and_then_chunks() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(100));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let head = || first(header(&session, 0..100));
    let body = || chunk(bytes.clone());
    let nothing = || UploadRangeRequest { content: None };
    let cases = [
        ("no message", vec![], "FIRST_MESSAGE_MISSING"),
        ("a chunk first", vec![body()], "HEADER_MISSING"),
        ("a chunk before the header", vec![body(), head()], "HEADER_MISSING"),
        ("an empty message first", vec![nothing(), head(), body()], "HEADER_MISSING"),
        ("an empty header", vec![first(RangeHeader::default()), body()], "INVALID_FIELD"),
        ("two headers", vec![head(), head(), body()], "HEADER_REPEATED"),
        ("a header among chunks", vec![head(), chunk(bytes.slice(..50)), head()], "HEADER_REPEATED"),
        ("a header after all chunks", vec![head(), body(), head()], "HEADER_REPEATED"),
        ("an empty message among chunks", vec![head(), nothing(), body()], "CONTENT_MISSING"),
        ("an empty message after all chunks", vec![head(), body(), nothing()], "CONTENT_MISSING"),
    ];
    for (what, messages, reason) in cases {
        let refused = ada.send_messages(messages).await.expect_err(what);
        assert_eq!(refused.code_and_reason(), (Code::InvalidArgument, reason.into()), "{what}");
        assert!(reason != "INVALID_FIELD" || refused.bad_fields() == ["header.name"], "{what}");
    }
    assert_nothing_left(&app, &mut ada, &session).await;
    ada.send_messages(vec![head(), body()]).await.expect("one header and then chunks");
}

#[tokio::test]
async fn a_first_message_has_at_most_64_kibibytes() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(100));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let mut large = header(&session, 0..100);
    large.sha256 = vec![7; 64 * 1024].into();
    for messages in [vec![first(large)], vec![chunk(vec![7; 64 * 1024])]] {
        let refused = ada.send_messages(messages).await.expect_err("too large");
        assert_eq!(refused.code_and_reason(), (Code::InvalidArgument, "FIRST_MESSAGE_TOO_LARGE".into()));
    }
    assert_nothing_left(&app, &mut ada, &session).await;
}

#[tokio::test]
async fn a_client_that_hangs_up_in_the_middle_of_a_range_leaves_nothing() {
    // One writer at a time, so that a permit that is not returned is noticed.
    let app = App::with([("max-writers", "1")]).await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(3 * MIB));
    let session = ada.create(&document, bytes.len()).await.expect("a session");

    // The client ends its body too early, resets its call, or closes its connection.
    for way in ["ends", "resets", "closes"] {
        let other = app.ada();
        let caller = if way == "closes" { &other } else { &ada };
        let (sender, answer) = caller.stall(&session, &bytes, 0..3 * MIB);
        eventually("the range is under way", async || app.files_of(&session).len() == 1).await;
        match way {
            "ends" => {
                drop(sender);
                let refused = answer.await.expect("no panic").expect_err("too short");
                assert_eq!(refused.code_and_reason(), (Code::InvalidArgument, "RANGE_LENGTH_MISMATCH".into()));
                assert!(app.files_of(&session).is_empty(), "the answer comes after the clean-up");
            }
            _ => {
                answer.abort();
                assert!(answer.await.expect_err("aborted").is_cancelled());
            }
        }
        drop(other);
        eventually("the staged file is gone", async || app.files_of(&session).is_empty()).await;
        eventually("the permit is returned", async || {
            let refused = ada.client.upload_range(header(&session, 0..10), Bytes::new()).await.expect_err("too short");
            refused.reason() != "TOO_MANY_WRITERS"
        })
        .await;
        assert_nothing_left(&app, &mut ada, &session).await;
    }
    ada.send(&session, &bytes, 0..3 * MIB).await.expect("the whole document");
    let (_, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert!(downloaded == bytes);
}

#[tokio::test]
async fn a_range_that_takes_too_long_is_given_up() {
    let app = App::with([("range-timeout", "300ms")]).await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(3 * MIB));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let holder = ada.holder_of(&session);
    let stalled = [ada.stall(&session, &bytes, 0..3 * MIB), holder.stall(&session, &bytes, 0..100)];
    for (sender, answer) in stalled {
        let refused = answer.await.expect("no panic").expect_err("too slow");
        assert_eq!(refused.code_and_reason(), (Code::DeadlineExceeded, "RANGE_TIMEOUT".into()));
        drop(sender);
    }
    eventually("the staged files are gone", async || app.files_of(&session).is_empty()).await;
    assert_nothing_left(&app, &mut ada, &session).await;
}
