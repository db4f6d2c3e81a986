//! A document's state, properties and bytes.

use std::ops::Range;

use bytes::Bytes;
use print_upload::proto::{
    DownloadPrintDocumentRequest, PrintDocument, UploadSession, download_print_document_response::Content,
    print_document::State, upload_session,
};
use tonic::Code;

use crate::harness::{Actor, App, ErrorExt, crc32c, eventually, sample_bytes, spans};

const MIB: usize = 1 << 20;

/// A document without bytes.
fn without_bytes(name: &str, state: State) -> PrintDocument {
    PrintDocument { name: name.into(), state: state.into(), ..Default::default() }
}

async fn upload(ada: &mut Actor, document: &str, bytes: &Bytes, ranges: &[Range<usize>]) -> UploadSession {
    let session = ada.create(document, bytes.len()).await.expect("a session");
    for range in ranges {
        ada.send(&session, bytes, range.clone()).await.expect("a range");
    }
    ada.get(&session.name).await.expect("the session")
}

/// The lengths of a download's chunks.
async fn chunks(ada: &mut Actor, name: &str, offset: i64) -> Vec<usize> {
    let request = DownloadPrintDocumentRequest { name: name.into(), offset };
    let mut stream = ada.client.documents.download_print_document(request).await.expect("a download").into_inner();
    let first = stream.message().await.expect("a message").expect("the document");
    assert!(matches!(first.content, Some(Content::Document(_))), "the document comes first");
    let mut lengths = Vec::new();
    while let Some(message) = stream.message().await.expect("a message") {
        let Some(Content::Chunk(chunk)) = message.content else { panic!("after the document there are only chunks") };
        lengths.push(chunk.len());
    }
    lengths
}

#[tokio::test]
async fn a_document_is_pending_then_uploading_then_uploaded() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    let by_share = document.replace("printers/p", "shares/s");
    let pending = without_bytes(&document, State::UploadPending);
    assert_eq!(ada.document(&document).await.expect("a document"), pending);

    let canceled = upload(&mut ada, &document, &bytes, &[0..500]).await;
    for name in [&document, &by_share] {
        assert_eq!(ada.document(name).await.expect("a document"), without_bytes(&document, State::Uploading));
    }
    ada.delete(&canceled.name).await.expect("deleted");
    assert_eq!(ada.document(&document).await.expect("a document"), pending, "it awaits its upload again");
    let overdue = ada.create(&document, 1000).await.expect("a session");
    app.make_overdue(&overdue).await;
    assert_eq!(ada.document(&document).await.expect("a document"), pending, "a session past its time is none");

    let completed = upload(&mut ada, &document, &bytes, &[300..1000, 0..300]).await;
    assert_eq!(completed.state(), upload_session::State::Completed);
    let uploaded = PrintDocument {
        document_name: "poster.pdf".into(),
        content_type: "application/pdf".into(),
        size_bytes: 1000,
        upload_time: completed.end_time,
        crc32c: Some(crc32c(&bytes)),
        ..without_bytes(&document, State::Uploaded)
    };
    assert!(uploaded.upload_time.is_some());
    for name in [&document, &by_share] {
        assert_eq!(ada.document(name).await.expect("a document"), uploaded);
        assert_eq!(ada.download(name, 0).await.expect("a download").0, uploaded);
    }
}

#[tokio::test]
async fn a_document_is_downloaded_only_when_it_is_uploaded() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    let not_uploaded = (Code::FailedPrecondition, "DOCUMENT_NOT_UPLOADED".to_owned());
    assert_eq!(ada.download(&document, 0).await.expect_err("never begun").code_and_reason(), not_uploaded);
    let session = upload(&mut ada, &document, &bytes, &[0..999]).await;
    for offset in [0, 1000, 5000] {
        let refused = ada.download(&document, offset).await.expect_err("a byte is missing");
        assert_eq!(refused.code_and_reason(), not_uploaded);
    }
    ada.delete(&session.name).await.expect("deleted");
    assert_eq!(ada.download(&document, 0).await.expect_err("canceled").code_and_reason(), not_uploaded);
}

#[tokio::test]
async fn a_document_of_many_pieces_is_downloaded_from_any_offset() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(100_003));
    // Every second range first, from the end. Then ranges that overlap the received ones on both sides.
    let even = (0..15).rev().map(|index| index * 7000).map(|start| start..(start + 3500).min(100_003));
    let odd = (0..14).map(|index| (index * 5) % 14 * 7000).map(|start| start + 3000..start + 7500);
    let ranges: Vec<Range<usize>> = even.chain(odd).collect();
    let session = upload(&mut ada, &document, &bytes, &ranges).await;
    for missing in spans(&session.next_expected_ranges) {
        ada.send(&session, &bytes, missing).await.expect("the rest");
    }

    let borders = [3499, 3500, 3501, 6999, 7000, 7001, 10_499, 10_500, 98_000, 100_002];
    for offset in [0, 1, 1234, 50_000].into_iter().chain(borders) {
        let (uploaded, tail) = ada.download(&document, offset as i64).await.expect("a download");
        assert!(tail == bytes[offset..], "from {offset} on");
        assert_eq!(uploaded.crc32c, Some(crc32c(&bytes)), "the checksum is that of the whole document");
    }
    let (uploaded, nothing) = ada.download(&document, 100_003).await.expect("a download from the end");
    assert_eq!((uploaded.size_bytes, nothing.len()), (100_003, 0));
}

#[tokio::test]
async fn an_offset_outside_the_document_is_refused() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    upload(&mut ada, &document, &bytes, &[0..1000]).await;
    for offset in [1001, i64::MAX] {
        let refused = ada.download(&document, offset).await.expect_err("past the end");
        assert_eq!(refused.code_and_reason(), (Code::OutOfRange, "OFFSET_OUT_OF_RANGE".into()), "{offset}");
    }
    for offset in [-1, i64::MIN] {
        let refused = ada.download(&document, offset).await.expect_err("negative");
        assert_eq!(refused.bad_fields(), ["offset"], "{offset}");
    }
}

#[tokio::test]
async fn a_download_comes_in_chunks_of_at_most_one_mebibyte() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(4 * MIB + 10));
    let border = 2 * MIB + 5;
    upload(&mut ada, &document, &bytes, &[border..bytes.len(), 0..border]).await;
    // The first MiB comes in small chunks, for those who read nothing of it.
    let beginning = [64 * 1024; 16];
    let expected = |before: &[usize], after: &[usize]| [before, &beginning, after].concat();
    assert_eq!(chunks(&mut ada, &document, 0).await, expected(&[], &[MIB, 5, MIB, MIB, 5]));
    assert_eq!(chunks(&mut ada, &document, border as i64).await, expected(&[], &[MIB, 5]));
    assert_eq!(chunks(&mut ada, &document, border as i64 - 1).await, expected(&[1], &[MIB, 5]));
    assert_eq!(chunks(&mut ada, &document, bytes.len() as i64).await, [0; 0]);
    assert!(ada.download(&document, 0).await.expect("a download").1 == bytes);
}

#[tokio::test]
async fn a_document_that_does_not_exist_is_not_found() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let unknown = document.replace("/jobs/", "/jobs/x");
    let expected = (Code::NotFound, "DOCUMENT_NOT_FOUND".to_owned());
    assert_eq!(ada.document(&unknown).await.expect_err("no document").code_and_reason(), expected);
    assert_eq!(ada.download(&unknown, 0).await.expect_err("no document").code_and_reason(), expected);
    for malformed in ["", "printers/p/jobs/1", &format!("{document}/uploadSession")] {
        assert_eq!(ada.document(malformed).await.expect_err("malformed").bad_fields(), ["name"]);
        assert_eq!(ada.download(malformed, 0).await.expect_err("malformed").bad_fields(), ["name"]);
    }
}

#[tokio::test]
async fn a_store_in_memory_serves_the_whole_life_of_a_session() {
    let app = App::with([("store", "memory://")]).await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(3 * MIB));
    let canceled = upload(&mut ada, &document, &bytes, &[MIB..2 * MIB]).await;
    ada.delete(&canceled.name).await.expect("deleted");
    let late = ada.send(&canceled, &bytes, 0..MIB).await.expect_err("a late range");
    assert_eq!(late.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));

    let session = upload(&mut ada, &document, &bytes, &[2 * MIB..3 * MIB, 0..MIB + 1]).await;
    ada.send_with_crc32c(&session, &bytes, 5..MIB).await.expect("the same bytes");
    let again = ada.send(&session, &bytes, 5..MIB).await.expect_err("received already");
    assert_eq!(again.code_and_reason(), (Code::AlreadyExists, "RANGE_ALREADY_RECEIVED".into()));
    let short = ada.client.upload_range(crate::harness::header(&session, MIB..2 * MIB), bytes.slice(..7)).await;
    let short = short.expect_err("too short");
    assert_eq!(short.code_and_reason(), (Code::InvalidArgument, "RANGE_LENGTH_MISMATCH".into()));
    let answer = ada.send(&session, &bytes, MIB..2 * MIB).await.expect("the last missing range");
    assert_eq!(answer.state(), upload_session::State::Completed);

    let (uploaded, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert!(downloaded == bytes && uploaded.crc32c == Some(crc32c(&bytes)));
    assert_eq!(ada.download(&document, MIB as i64 + 1).await.expect("a download").1, bytes[MIB + 1..]);
    assert!(!app.bytes_folder().exists(), "no file was written");
}

#[tokio::test]
async fn a_download_that_nobody_reads_on_never_looks_complete() {
    let mut app = App::with([("max-transfers", "1")]).await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(20 << 20));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    for start in [0, 10 << 20] {
        ada.send(&session, &bytes, start..start + (10 << 20)).await.expect("a half");
    }
    app.stop().await;
    app.set_flag("range-timeout", "1s");
    app.run().await;
    let mut ada = app.ada();
    let request = DownloadPrintDocumentRequest { name: document.clone(), offset: 0 };
    let mut stalled = ada.client.documents.download_print_document(request).await.expect("a download").into_inner();
    stalled.message().await.expect("a message").expect("the document");

    // It holds the only transfer permit until it times out.
    eventually("it is given up", async || app.ada().download(&document, bytes.len() as i64).await.is_ok()).await;

    let ended = loop {
        match stalled.message().await {
            Ok(message) => assert!(message.is_some(), "a cut document must not look like a whole one"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code_and_reason(), (Code::DeadlineExceeded, "DOWNLOAD_TIMEOUT".into()));
}
