//! Headers that name no range of the session: a clear error, and nothing is lost.

use print_upload::proto::{RangeHeader, UploadSession, upload_session::State};
use tonic::Code;
use uuid::Uuid;

use crate::harness::{Actor, App, Digest, ErrorExt, header, sample_bytes, spans};

/// A session of 1000 bytes that has received 100..300.
async fn begun(app: &App, ada: &mut Actor) -> UploadSession {
    let session = ada.create(&app.new_document().await, 1000).await.expect("a session");
    ada.send(&session, &sample_bytes(1000), 100..300).await.expect("a range");
    session
}

/// The session is as `begun` returned it, and can go on.
async fn assert_nothing_lost(app: &App, ada: &mut Actor, session: &UploadSession) {
    let bytes = sample_bytes(1000);
    let now = ada.get(&session.name).await.expect("the session");
    assert_eq!((now.state(), now.received_bytes), (State::Active, 200));
    assert_eq!(spans(&now.next_expected_ranges), [0..100, 300..1000]);
    assert_eq!(app.files_of(session).len(), 1, "only the received range is in the store");

    ada.send(session, &bytes, 0..100).await.expect("a range");
    ada.send(session, &bytes, 300..1000).await.expect("a range");
    let (_, downloaded) = ada.download(&session.document, 0).await.expect("a download");
    assert_eq!(downloaded, bytes);
}

#[tokio::test]
async fn bounds_that_are_no_range_of_the_document_are_refused() {
    let app = App::start().await;
    let mut ada = app.ada();
    let session = begun(&app, &mut ada).await;
    let mut holder = ada.holder_of(&session);
    const MAX: i64 = i64::MAX;
    const MIN: i64 = i64::MIN;
    let cases = [
        ("empty", 500, 500, 1000, "header.end"),
        ("empty at the start", 0, 0, 1000, "header.end"),
        ("empty at the end", 1000, 1000, 1000, "header.end"),
        ("reversed", 600, 500, 1000, "header.end"),
        ("reversed far", MAX, 0, 1000, "header.end"),
        ("a negative start", -1, 500, 1000, "header.start"),
        ("the least start", MIN, 500, 1000, "header.start"),
        ("a negative end", 0, -1, 1000, "header.end"),
        ("the least end", 0, MIN, 1000, "header.end"),
        ("both negative", -2, -1, 1000, "header.start"),
        ("the longest there is", MIN, MAX, 1000, "header.start"),
        ("one byte past the size", 999, 1001, 1000, "header.end"),
        ("all of it past the size", 1000, 1001, 1000, "header.end"),
        ("far past the size", 0, MAX, 1000, "header.end"),
        ("the last byte there is", MAX - 1, MAX, 1000, "header.end"),
        ("a total of nothing", 500, 501, 0, "header.end"),
        ("a total one too small", 500, 501, 999, "header.total"),
        ("a total one too large", 500, 501, 1001, "header.total"),
        ("past the size by its total", 999, 1001, 1001, "header.total"),
        ("the largest total", 500, 501, MAX, "header.total"),
        ("a negative total", 500, 501, -1000, "header.total"),
        ("the least total", 500, 501, MIN, "header.total"),
        ("a wrong total of a received range", 100, 300, 301, "header.total"),
    ];
    for (what, start, end, total, field) in cases {
        for caller in [&mut ada, &mut holder] {
            let header = RangeHeader { name: session.name.clone(), start, end, total, ..Default::default() };
            let refused = caller.client.upload_range(header, sample_bytes(1)).await.expect_err(what);
            assert_eq!(refused.bad_fields(), [field], "{what}");
        }
    }
    let header = RangeHeader { name: session.name.clone(), end: MAX, total: MAX, ..Default::default() };
    let refused = ada.client.upload_range(header, sample_bytes(1)).await.expect_err("too long for any range");
    assert_eq!(refused.too_large("RANGE"), ("header.end".into(), 10 << 20));
    assert_nothing_lost(&app, &mut ada, &session).await;
}

#[tokio::test]
async fn a_range_names_exactly_one_session() {
    let app = App::start().await;
    let mut ada = app.ada();
    let session = begun(&app, &mut ada).await;
    let malformed = [
        String::new(),
        "uploadSessions/".into(),
        "uploadSessions/7".into(),
        session.etag.clone(),
        format!("/{}", session.name),
        format!("{}/", session.name),
        format!("{}?tempauthtoken=x", session.name),
        session.name.replace('-', ""),
        session.name.replace("uploadSessions", "sessions"),
        format!("uploadSessions/{{{}}}", session.etag),
        // The name of a document could mean a newer session than the caller knows.
        session.document.clone(),
        format!("{}/uploadSession", session.document),
        format!("{}/uploadSession", session.document.replace("printers/p", "shares/s")),
        format!("{}/{}", session.document, session.name),
    ];
    for name in malformed {
        let header = RangeHeader { name: name.clone(), ..header(&session, 300..1000) };
        let refused = ada.client.upload_range(header, sample_bytes(1000).slice(300..)).await.expect_err("a bad name");
        assert_eq!(refused.bad_fields(), ["header.name"], "{name}");
    }
    let unknown = RangeHeader { name: format!("uploadSessions/{}", Uuid::new_v4()), ..header(&session, 300..1000) };
    let refused = ada.client.upload_range(unknown, sample_bytes(1000).slice(300..)).await.expect_err("no session");
    assert_eq!(refused.code_and_reason(), (Code::NotFound, "UPLOAD_SESSION_NOT_FOUND".into()));
    assert_nothing_lost(&app, &mut ada, &session).await;
}

#[tokio::test]
async fn a_capability_reaches_no_other_session() {
    let app = App::start().await;
    let mut ada = app.ada();
    let session = begun(&app, &mut ada).await;
    let other = begun(&app, &mut ada).await;
    let mut holder = ada.holder_of(&other);
    let refused = holder.send(&session, &sample_bytes(1000), 300..1000).await.expect_err("another session");
    assert_eq!(refused.code_and_reason(), (Code::PermissionDenied, "UPLOAD_TOKEN_NOT_ACCEPTED".into()));
    assert_nothing_lost(&app, &mut ada, &session).await;
}

#[tokio::test]
async fn a_range_of_an_ended_session_is_refused_with_how_it_ended() {
    let app = App::start().await;
    let mut ada = app.ada();
    let (canceled, overdue) = (begun(&app, &mut ada).await, begun(&app, &mut ada).await);
    ada.delete(&canceled.name).await.expect("deleted");
    app.make_overdue(&overdue).await;
    for (session, reason) in [(canceled, "UPLOAD_SESSION_CANCELED"), (overdue, "UPLOAD_SESSION_EXPIRED")] {
        // A new range, a received one, and one with a wrong total: each is refused because the session has ended.
        for (range, total) in [(300..1000, 1000), (100..300, 1000), (300..1000, 1001)] {
            for digest in [Digest::None, Digest::Both] {
                let bytes = sample_bytes(1000).slice(range.clone());
                let header = RangeHeader { total, ..digest.put_on(header(&session, range.clone()), &bytes) };
                let refused = ada.client.upload_range(header, bytes).await.expect_err(reason);
                assert_eq!(refused.code_and_reason(), (Code::Aborted, reason.into()), "{range:?} {digest:?}");
            }
        }
    }
}
