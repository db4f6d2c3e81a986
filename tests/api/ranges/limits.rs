//! Ranges, documents and chunks at the limits of their sizes.

use print_upload::proto::{RangeHeader, UploadRangeRequest, upload_range_request::Content, upload_session::State};
use print_upload_client::range_messages;
use tonic::Code;

use crate::harness::{App, Digest, ErrorExt, chunk, header, sample_bytes, spans};

const MIB: usize = 1 << 20;

fn first(header: RangeHeader) -> UploadRangeRequest {
    UploadRangeRequest { content: Some(Content::Header(header)) }
}

#[tokio::test]
async fn a_range_has_at_most_ten_mebibytes() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(10 * MIB + 2));
    let session = ada.create(&document, bytes.len()).await.expect("a session");

    let refused = ada.send(&session, &bytes, 1..10 * MIB + 2).await.expect_err("one byte too many");
    assert_eq!(refused.too_large("RANGE"), ("header.end".into(), 10 * MIB as u64));
    assert!(refused.message().contains(&(10 * MIB).to_string()), "it names the limit: {}", refused.message());
    assert!(app.files_of(&session).is_empty());

    ada.send(&session, &bytes, 1..10 * MIB + 1).await.expect("10 MiB");
    let answer = ada.send(&session, &bytes, 0..1).await.expect("one byte, the first");
    assert_eq!(spans(&answer.next_expected_ranges), [10 * MIB + 1..10 * MIB + 2]);
    let answer = ada.send(&session, &bytes, 10 * MIB + 1..10 * MIB + 2).await.expect("one byte, the last");
    assert_eq!(answer.state(), State::Completed);
    let (uploaded, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert!(downloaded == bytes && uploaded.crc32c == Some(crc32c::crc32c(&bytes)));
}

#[tokio::test]
async fn the_largest_range_is_a_flag() {
    let app = App::with([("max-range-bytes", "100")]).await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(201));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let refused = ada.send(&session, &bytes, 0..101).await.expect_err("one byte too many");
    assert_eq!(refused.too_large("RANGE"), ("header.end".into(), 100));
    ada.send(&session, &bytes, 0..100).await.expect("as many as allowed");
}

#[tokio::test]
async fn a_document_may_have_a_single_byte() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(2).slice(1..));
    let session = ada.create(&document, 1).await.expect("a session");
    let answer = ada.send_bytes(&session, 0, bytes.clone(), Digest::Both).await.expect("the byte");
    assert_eq!(answer.state(), State::Completed);
    let (uploaded, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert_eq!((uploaded.size_bytes, downloaded), (1, bytes.to_vec()));
}

#[tokio::test]
async fn a_chunk_has_at_most_one_mebibyte() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(5 * MIB));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    // One byte too many; as many as can still be decoded; one more than that; far too many.
    for length in [MIB + 1, 2 * MIB - 16, 2 * MIB + 1, 5 * MIB] {
        for start in [0, bytes.len() - length] {
            let messages =
                vec![first(header(&session, start..start + length)), chunk(bytes.slice(start..start + length))];
            let refused = ada.send_messages(messages).await.expect_err("a chunk too large");
            assert_eq!(refused.code_and_reason(), (Code::InvalidArgument, "CHUNK_TOO_LARGE".into()), "{length}");
        }
    }
    assert_eq!(ada.get(&session.name).await.expect("the session").received_bytes, 0);
    assert!(app.files_of(&session).is_empty());

    let exact = vec![first(header(&session, 0..MIB)), chunk(bytes.slice(0..MIB))];
    let answer = ada.send_messages(exact).await.expect("1 MiB");
    assert_eq!(spans(&answer.next_expected_ranges), [MIB..5 * MIB]);
}

#[tokio::test]
async fn chunks_may_be_of_any_size_down_to_none() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(2000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");

    let mut messages = vec![first(header(&session, 0..1000)), chunk("")];
    for start in 0..500 {
        messages.extend([chunk(bytes.slice(start..start + 1)), chunk("")]);
    }
    messages.extend([chunk(bytes.slice(500..1000)), chunk("")]);
    ada.send_messages(messages).await.expect("a range of many chunks");
    let whole = range_messages(header(&session, 1000..2000), &bytes.slice(1000..2000));
    ada.send_messages(whole).await.expect("a range of one chunk");

    let (_, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert_eq!(downloaded, bytes);
}

/// Each range costs an object and a row, however short it is.
#[tokio::test]
async fn a_small_document_has_few_fragments() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(64 * 1024 + 1));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let limit = 2 + 64;
    for index in 0..limit {
        ada.send(&session, &bytes, 2 * index..2 * index + 1).await.expect("one byte");
    }

    let next = 2 * limit;
    let refused = ada.send(&session, &bytes, next..next + 1).await.expect_err("one byte too many");
    assert_eq!(refused.code_and_reason(), (Code::ResourceExhausted, "TOO_MANY_FRAGMENTS".into()));
    assert_eq!(refused.metadata_of("max_fragments").as_deref(), Some("66"));
    assert!(refused.message().contains("66"), "it names the limit: {}", refused.message());
    // Refused before its bytes arrive.
    let (_still_open, answer) = ada.stall(&session, &bytes, next..next + 2);
    assert_eq!(answer.await.expect("an answer").expect_err("too many").reason(), "TOO_MANY_FRAGMENTS");
    assert_eq!(app.files_of(&session).len(), limit);

    let other = ada.create(&app.new_document().await, bytes.len()).await.expect("another session");
    for start in (0..bytes.len()).step_by(1000) {
        ada.send(&other, &bytes, start..bytes.len().min(start + 1000)).await.expect("a part of the document");
    }
    assert_eq!(ada.get(&other.name).await.expect("the session").state(), State::Completed);
}

#[tokio::test]
async fn a_document_has_a_bounded_number_of_fragments() {
    let app = App::with([("max-fragments", "3")]).await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(100));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 10..20).await.expect("the first fragment");
    ada.send(&session, &bytes, 30..40).await.expect("the second fragment");

    // It has two new pieces: before 30 and after 40.
    let refused = ada.send(&session, &bytes, 25..45).await.expect_err("a fragment too many");
    assert_eq!(refused.code_and_reason(), (Code::ResourceExhausted, "TOO_MANY_FRAGMENTS".into()));
    assert_eq!(refused.metadata_of("max_fragments").as_deref(), Some("3"));
    ada.send(&session, &bytes, 50..60).await.expect("the third fragment");
    for digest in [Digest::None, Digest::Both] {
        let refused = ada.send_bytes(&session, 70, bytes.slice(70..80), digest).await.expect_err("a fourth fragment");
        assert_eq!(refused.code_and_reason(), (Code::ResourceExhausted, "TOO_MANY_FRAGMENTS".into()));
    }
    // The received ranges are still known, and can be repeated.
    ada.send_with_crc32c(&session, &bytes, 30..40).await.expect("a repeat");
    let session = ada.get(&session.name).await.expect("the session");
    assert_eq!(spans(&session.next_expected_ranges), [0..10, 20..30, 40..50, 60..100]);
    assert_eq!(app.files_of(&session).len(), 3);

    let other = ada.create(&app.new_document().await, 100).await.expect("another session");
    for range in [40..70, 0..40, 70..100] {
        ada.send(&other, &bytes, range).await.expect("one of three fragments");
    }
    assert_eq!(ada.get(&other.name).await.expect("the session").state(), State::Completed);
}
