//! Which session a delete means: etags, and sessions that do not exist.

use print_upload::proto::{DeleteUploadSessionRequest, upload_session::State};
use tonic::Code;
use uuid::Uuid;

use crate::harness::{App, ErrorExt, sample_bytes};

fn with_etag(name: &str, etag: &str) -> DeleteUploadSessionRequest {
    DeleteUploadSessionRequest { name: name.into(), etag: etag.into(), allow_missing: false }
}

fn if_there(name: &str) -> DeleteUploadSessionRequest {
    DeleteUploadSessionRequest { name: name.into(), etag: String::new(), allow_missing: true }
}

fn mismatch() -> (Code, String) {
    (Code::Aborted, "ETAG_MISMATCH".into())
}

#[tokio::test]
async fn the_right_etag_deletes_by_either_name() {
    let app = App::start().await;
    let mut ada = app.ada();
    for by_document in [true, false] {
        let document = app.new_document().await;
        let session = ada.create(&document, 1000).await.expect("a session");
        let name = if by_document { format!("{document}/uploadSession") } else { session.name.clone() };

        ada.delete_with(with_etag(&name, &session.etag)).await.expect("deleted");
        ada.delete_with(with_etag(&name, &session.etag)).await.expect("deleted again");

        assert_eq!(ada.get(&session.name).await.expect("the tombstone").state(), State::Canceled);
    }
}

#[tokio::test]
async fn an_older_sessions_etag_deletes_nothing_newer() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let older = ada.create(&document, 1000).await.expect("a session");
    ada.delete(&older.name).await.expect("deleted");
    let newer = ada.create(&document, 1000).await.expect("a new session");

    ada.delete_with(with_etag(&format!("{document}/uploadSession"), &older.etag)).await.expect("deleted before");

    assert_eq!(ada.get(&newer.name).await.expect("the newer session").state(), State::Active);
    assert_eq!(app.actions_on(&newer).await, ["create"]);
    assert_eq!(app.actions_on(&older).await, ["create", "cancel"]);
}

#[tokio::test]
async fn an_etag_of_no_session_of_the_document_deletes_nothing() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, 1000).await.expect("a session");
    let elsewhere = ada.create(&app.new_document().await, 1000).await.expect("another document's session");
    let unknown = Uuid::now_v7().to_string();

    for name in [format!("{document}/uploadSession"), session.name.clone()] {
        for etag in [unknown.as_str(), &elsewhere.etag, "garbage", "*", &session.name] {
            let refused = ada.delete_with(with_etag(&name, etag)).await.expect_err(etag);
            assert_eq!(refused.code_and_reason(), mismatch(), "{name} {etag}");
            let forgiving = DeleteUploadSessionRequest { allow_missing: true, ..with_etag(&name, etag) };
            let refused = ada.delete_with(forgiving).await.expect_err(etag);
            assert_eq!(refused.code_and_reason(), mismatch(), "{name} {etag} with allow_missing");
        }
    }

    for session in [&session, &elsewhere] {
        assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Active);
    }
}

#[tokio::test]
async fn the_etag_of_somebody_elses_session_is_no_way_in() {
    let app = App::start().await;
    let (mut ada, mut bob, document) = (app.ada(), app.bob(), app.new_document().await);
    let session = ada.create(&document, 1000).await.expect("a session");

    for name in [format!("{document}/uploadSession"), session.name.clone()] {
        let refused = bob.delete_with(with_etag(&name, &session.etag)).await.expect_err("not his");
        assert_eq!(refused.code_and_reason(), (Code::PermissionDenied, "NOT_SESSION_OWNER".into()));
    }

    assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Active);
}

#[tokio::test]
async fn only_a_missing_session_may_be_missing() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let fresh = format!("{}/uploadSession", app.new_document().await);
    let unknown = format!("uploadSessions/{}", Uuid::now_v7());
    let job = Uuid::new_v4();
    let no_document = format!("printers/p/jobs/{job}/documents/{}/uploadSession", Uuid::new_v4());
    let theirs_document = app.new_document().await;
    let theirs = app.bob().create(&theirs_document, 1000).await.expect("bob's session");
    let completed_document = app.new_document().await;
    let completed = ada.upload(&completed_document, &bytes).await.expect("an uploaded document");

    let not_found = |reason: &str| Some((Code::NotFound, reason.to_owned()));
    let denied = Some((Code::PermissionDenied, "NOT_SESSION_OWNER".to_owned()));
    let ended = Some((Code::FailedPrecondition, "UPLOAD_SESSION_COMPLETED".to_owned()));
    let no_session = not_found("UPLOAD_SESSION_NOT_FOUND");
    let table = [
        // name, without allow_missing, with it
        (fresh, no_session.clone(), None),
        (unknown, no_session, None),
        (no_document, not_found("DOCUMENT_NOT_FOUND"), not_found("DOCUMENT_NOT_FOUND")),
        (format!("{theirs_document}/uploadSession"), denied.clone(), denied.clone()),
        (theirs.name.clone(), denied.clone(), denied),
        (format!("{completed_document}/uploadSession"), ended.clone(), ended.clone()),
        (completed.name.clone(), ended.clone(), ended),
    ];
    for (name, strict, forgiving) in table {
        let answer = ada.delete(&name).await.err().map(|error| error.code_and_reason());
        assert_eq!(answer, strict, "{name}");
        let answer = ada.delete_with(if_there(&name)).await.err().map(|error| error.code_and_reason());
        assert_eq!(answer, forgiving, "{name} with allow_missing");
    }

    assert_eq!(app.bob().get(&theirs.name).await.expect("bob's session").state(), State::Active);
    assert_eq!(ada.download(&completed_document, 0).await.expect("the document").1, bytes);
}
