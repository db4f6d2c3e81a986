//! Repeated ranges, and digests that match or do not.

use std::ops::Range;

use bytes::Bytes;
use print_upload::proto::{RangeHeader, UploadSession, upload_session::State};
use tonic::Code;

use crate::harness::{Actor, App, Digest, ErrorExt, crc32c, header, sample_bytes, sha256, spans};

const EVERY_DIGEST: [Digest; 3] = [Digest::Crc32c, Digest::Sha256, Digest::Both];

/// A session of 1000 bytes that has received 100..200, 200..350 and 400..500.
async fn with_pieces(app: &App, ada: &mut Actor, bytes: &Bytes) -> UploadSession {
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    for range in [200..350, 100..200, 400..500] {
        ada.send(&session, bytes, range).await.expect("a range");
    }
    session
}

/// Only the three pieces are received, and nothing else is in the store.
async fn assert_unchanged(app: &App, ada: &mut Actor, session: &UploadSession) {
    let now = ada.get(&session.name).await.expect("the session");
    assert_eq!(spans(&now.next_expected_ranges), [0..100, 350..400, 500..1000]);
    assert_eq!((now.state(), now.received_bytes), (State::Active, 350));
    assert_eq!(app.files_of(session).len(), 3);
}

/// Bytes for a range that all differ from the document's.
fn other_bytes(bytes: &Bytes, range: Range<usize>) -> Bytes {
    bytes[range].iter().map(|byte| byte ^ 0xff).collect()
}

#[tokio::test]
async fn a_range_sent_again_is_acknowledged_only_by_its_digest() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = with_pieces(&app, &mut ada, &bytes).await;
    // A piece, part of one, one byte, two pieces, and parts of two.
    for range in [100..200, 120..130, 499..500, 100..350, 150..201] {
        let again = ada.send(&session, &bytes, range.clone()).await.expect_err("received already");
        assert_eq!(again.code_and_reason(), (Code::AlreadyExists, "RANGE_ALREADY_RECEIVED".into()), "{range:?}");

        for digest in EVERY_DIGEST {
            let same = ada.send_bytes(&session, range.start, bytes.slice(range.clone()), digest).await;
            let same = same.unwrap_or_else(|status| panic!("{range:?} {digest:?}: {status:?}"));
            assert_eq!(same.state(), State::Active);
            assert_eq!(spans(&same.next_expected_ranges), [0..100, 350..400, 500..1000]);
            assert_eq!(same.document, None);

            let other = ada.send_bytes(&session, range.start, other_bytes(&bytes, range.clone()), digest).await;
            let other = other.expect_err("other bytes");
            assert_eq!(other.code_and_reason(), (Code::Aborted, "DIGEST_CONFLICT".into()), "{range:?} {digest:?}");
        }
    }
    assert_unchanged(&app, &mut ada, &session).await;
}

#[tokio::test]
async fn a_repeated_range_of_several_megabytes_is_compared_as_well() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(9_000_001));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..4_000_000).await.expect("a range");
    ada.send(&session, &bytes, 4_000_000..9_000_000).await.expect("a range");

    for digest in EVERY_DIGEST {
        ada.send_bytes(&session, 0, bytes.slice(0..9_000_000), digest).await.expect("the same bytes");
    }
    let again = ada.send(&session, &bytes, 0..9_000_000).await.expect_err("received already");
    assert_eq!(again.code_and_reason(), (Code::AlreadyExists, "RANGE_ALREADY_RECEIVED".into()));
}

#[tokio::test]
async fn the_completing_range_sent_again_is_answered_as_the_first_time() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..400).await.expect("a range");
    // It overlaps the received bytes. Its bytes before 400 matter only for its repeat.
    let first = ada.send(&session, &bytes, 300..1000).await.expect("the completing range");
    assert_eq!(first.state(), State::Completed);

    for digest in [Digest::None, Digest::Crc32c, Digest::Sha256, Digest::Both] {
        let again = ada.send_bytes(&session, 300, bytes.slice(300..1000), digest).await.expect("the repeat");
        assert_eq!(again, first, "{digest:?}");
    }
    for digest in [Digest::None, Digest::Crc32c, Digest::Sha256, Digest::Both] {
        let refused = [
            ada.send_bytes(&session, 300, other_bytes(&bytes, 300..1000), digest).await,
            ada.send_bytes(&session, 0, bytes.slice(0..400), digest).await,
            ada.send_bytes(&session, 400, bytes.slice(400..1000), digest).await,
            ada.send_bytes(&session, 0, bytes.clone(), digest).await,
        ];
        for refused in refused {
            let refused = refused.expect_err("the session is completed");
            assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "UPLOAD_SESSION_COMPLETED".into()));
        }
    }
    let wrong = RangeHeader { crc32c: Some(7), ..header(&session, 300..1000) };
    let wrong = ada.client.upload_range(wrong, bytes.slice(300..1000)).await.expect_err("a wrong digest");
    assert_eq!(wrong.code_and_reason(), (Code::InvalidArgument, "DIGEST_MISMATCH".into()));
    let (uploaded, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert_eq!(Some(uploaded), first.document);
    assert_eq!(downloaded, bytes);
}

#[tokio::test]
async fn the_completing_range_may_be_repeated_without_its_bytes() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let early = ada.client.upload_range(header(&session, 0..400), Bytes::new()).await.expect_err("nothing to take");
    assert_eq!(early.code_and_reason(), (Code::InvalidArgument, "RANGE_LENGTH_MISMATCH".into()));
    ada.send(&session, &bytes, 0..400).await.expect("a range");
    let first = ada.send(&session, &bytes, 400..1000).await.expect("the completing range");

    let again = ada.client.upload_range(header(&session, 400..1000), Bytes::new()).await.expect("the repeat");
    assert_eq!(again, first);

    let other = ada.client.upload_range(header(&session, 0..400), Bytes::new()).await.expect_err("another range");
    assert_eq!(other.code_and_reason(), (Code::FailedPrecondition, "UPLOAD_SESSION_COMPLETED".into()));
    let short = ada.client.upload_range(header(&session, 400..1000), bytes.slice(400..401)).await;
    assert_eq!(short.expect_err("some of its bytes").reason(), "RANGE_LENGTH_MISMATCH");
    let digest = RangeHeader { crc32c: Some(crc32c(&bytes.slice(400..1000))), ..header(&session, 400..1000) };
    let promised = ada.client.upload_range(digest, Bytes::new()).await.expect_err("a digest of no bytes");
    assert_eq!(promised.reason(), "RANGE_LENGTH_MISMATCH");
}

#[tokio::test]
async fn a_range_whose_digest_does_not_hold_is_not_committed() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = with_pieces(&app, &mut ada, &bytes).await;
    // New, partly new, and wholly received ranges.
    for range in [600..700, 90..120, 100..200] {
        let (right, body) = (header(&session, range.clone()), bytes.slice(range.clone()));
        let (crc, sha) = (crc32c(&body), sha256(&body));
        let wrong = [
            RangeHeader { crc32c: Some(crc ^ 1), ..right.clone() },
            RangeHeader { crc32c: Some(0), ..right.clone() },
            RangeHeader { sha256: sha256(b"other bytes"), ..right.clone() },
            RangeHeader { crc32c: Some(crc ^ 1), sha256: sha.clone(), ..right.clone() },
            RangeHeader { crc32c: Some(crc), sha256: sha256(b""), ..right.clone() },
        ];
        for header in wrong {
            let refused = ada.client.upload_range(header.clone(), body.clone()).await.expect_err("a wrong digest");
            let expected = (Code::InvalidArgument, "DIGEST_MISMATCH".into());
            assert_eq!(refused.code_and_reason(), expected, "{header:?}");
        }
        for length in [1, 31] {
            let short = RangeHeader { sha256: sha.slice(..length), ..right.clone() };
            let refused = ada.client.upload_range(short, body.clone()).await.expect_err("no SHA-256");
            assert_eq!(refused.bad_fields(), ["header.sha256"]);
        }
        let long = RangeHeader { sha256: [&sha[..], b"!"].concat().into(), ..right };
        let refused = ada.client.upload_range(long, body).await.expect_err("no SHA-256");
        assert_eq!(refused.bad_fields(), ["header.sha256"]);
    }
    assert_unchanged(&app, &mut ada, &session).await;

    for (digest, range) in EVERY_DIGEST.into_iter().zip([0..100, 350..400, 500..1000]) {
        ada.send_bytes(&session, range.start, bytes.slice(range), digest).await.expect("right digests");
    }
    let (_, downloaded) = ada.download(&session.document, 0).await.expect("a download");
    assert_eq!(downloaded, bytes);
}

#[tokio::test]
async fn a_checksum_of_zero_is_a_checksum() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    // Four bytes whose CRC32C is 0.
    let bytes = Bytes::from_static(&[0xab, 0x9b, 0xe0, 0x9b]);
    assert_eq!(crc32c(&bytes), 0);
    let session = ada.create(&document, 5).await.expect("a session");
    ada.send_bytes(&session, 0, bytes.clone(), Digest::Crc32c).await.expect("a range");
    ada.send_bytes(&session, 0, bytes, Digest::Crc32c).await.expect("the same range");
    let refused = ada.send_bytes(&session, 0, Bytes::from_static(b"abcd"), Digest::Crc32c).await;
    let refused = refused.expect_err("other bytes");
    assert_eq!(refused.code_and_reason(), (Code::Aborted, "DIGEST_CONFLICT".into()));
}
