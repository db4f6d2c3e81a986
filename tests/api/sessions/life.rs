//! The life of a session.

use print_upload::proto::upload_session::{EndReason, State};
use tonic::Code;

use crate::harness::{App, ErrorExt, eventually, sample_bytes, span};

#[tokio::test]
async fn an_upload_is_created_sent_in_any_order_completed_and_downloaded() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(3_000_000));

    let session = ada.create(&document, bytes.len()).await.expect("a session");
    assert_eq!(session.state(), State::Active);
    assert_eq!(session.next_expected_ranges.iter().map(span).collect::<Vec<_>>(), [0..3_000_000]);

    let answer = ada.send(&session, &bytes, 2_000_000..3_000_000).await.expect("the last third");
    assert_eq!(answer.next_expected_ranges.iter().map(span).collect::<Vec<_>>(), [0..2_000_000]);
    let answer = ada.send(&session, &bytes, 0..1_000_000).await.expect("the first third");
    assert_eq!(answer.next_expected_ranges.iter().map(span).collect::<Vec<_>>(), [1_000_000..2_000_000]);
    let answer = ada.send(&session, &bytes, 1_000_000..2_000_000).await.expect("the rest");
    assert_eq!(answer.state(), State::Completed);
    assert_eq!(answer.document.expect("the document").size_bytes, 3_000_000);

    let (uploaded, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert_eq!(uploaded.crc32c, Some(crc32c::crc32c(&bytes)));
    assert!(downloaded == bytes, "the document is what was sent");
    let (_, tail) = ada.download(&document, 2_999_990).await.expect("a download");
    assert_eq!(tail, bytes.slice(2_999_990..));
}

#[tokio::test]
async fn a_deleted_session_has_ended_for_good() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1_000_000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..500_000).await.expect("the first half");

    ada.delete(&format!("{document}/uploadSession")).await.expect("deleted");

    let canceled = ada.get(&session.name).await.expect("the tombstone");
    assert_eq!((canceled.state(), canceled.end_reason()), (State::Canceled, EndReason::Deleted));
    assert_eq!(canceled.ended_by, session.owner);
    assert!(canceled.end_time.is_some() && canceled.upload_url.is_empty());
    let late = ada.send(&session, &bytes, 500_000..1_000_000).await.expect_err("a late range");
    assert_eq!(late.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
}
