//! Creating a session: idempotent for its owner, exclusive for everyone else.

use std::collections::HashSet;

use print_upload::proto::{CreateUploadSessionRequest, DocumentProperties, UploadSession, upload_session::State};
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use crate::harness::{App, ErrorExt, sample_bytes};

fn properties(document_name: &str, content_type: &str, size_bytes: i64) -> DocumentProperties {
    DocumentProperties { document_name: document_name.into(), content_type: content_type.into(), size_bytes }
}

fn expiry(session: &UploadSession) -> (i64, i32) {
    session.expire_time.as_ref().map(|time| (time.seconds, time.nanos)).expect("an expiry")
}

async fn count(app: &App, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(app.pool()).await.expect("a count")
}

#[tokio::test]
async fn creating_the_same_upload_again_finds_the_session_and_prolongs_it() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    let first = ada.create(&document, bytes.len()).await.expect("a session");
    assert_eq!(first.state(), State::Active);
    assert_eq!((&first.document, first.received_bytes), (&document, 0));
    assert_eq!(first.properties, Some(properties("poster.pdf", "application/pdf", 1000)));
    assert_eq!(first.name, format!("uploadSessions/{}", first.etag));
    ada.send(&first, &bytes, 0..300).await.expect("a range");
    let before = ada.get(&first.name).await.expect("the session");

    let again = ada.create(&document, bytes.len()).await.expect("the same session");
    assert_eq!((&again.name, again.received_bytes), (&first.name, 300), "with what it has received");
    assert_eq!(again.next_expected_ranges, before.next_expected_ranges);
    assert_eq!((again.create_time, &again.owner), (first.create_time, &first.owner));
    assert!(expiry(&again) > expiry(&before), "it lives longer");
    ada.holder_of(&again).send(&first, &bytes, 300..1000).await.expect("a range by the fresh upload URL");
}

#[tokio::test]
async fn a_session_is_the_same_by_printer_and_by_share() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(10));
    let by_share = document.replace("printers/p", "shares/s");
    let session = ada.create(&by_share, bytes.len()).await.expect("a session");
    assert_eq!(session.document, document, "a session names its document by the printer");
    assert_eq!(ada.create(&document, bytes.len()).await.expect("the same session").name, session.name);
    assert_eq!(ada.get(&format!("{by_share}/uploadSession")).await.expect("the session").name, session.name);
    ada.send(&session, &bytes, 0..10).await.expect("the document");
    assert_eq!(ada.download(&by_share, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn another_upload_is_refused_while_one_is_active() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, 1000).await.expect("a session");
    let others = [
        properties("other.pdf", "application/pdf", 1000),
        properties("poster.pdf", "application/oxps", 1000),
        properties("poster.pdf", "application/pdf", 1001),
    ];
    for other in others {
        let request = CreateUploadSessionRequest { parent: document.clone(), properties: Some(other) };
        let refused = ada.client.sessions.create_upload_session(request).await.expect_err("other properties");
        assert_eq!(refused.code_and_reason(), (Code::AlreadyExists, "UPLOAD_SESSION_ACTIVE".into()));
        assert_eq!(refused.metadata_of("session"), Some(session.name.clone()));
    }
    for mut other in [app.bob(), app.robot()] {
        let refused = other.create(&document, 1000).await.expect_err("another owner");
        assert_eq!(refused.code_and_reason(), (Code::AlreadyExists, "UPLOAD_SESSION_ACTIVE".into()));
        assert_eq!(refused.metadata_of("session"), Some(session.name.clone()));
    }
    let now = ada.get(&session.name).await.expect("the session");
    assert_eq!(
        UploadSession { upload_url: String::new(), ..now },
        UploadSession { upload_url: String::new(), ..session }
    );
}

#[tokio::test]
async fn an_uploaded_document_is_not_uploaded_again() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(10));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..10).await.expect("the document");
    for (mut caller, size) in [(app.ada(), 10), (app.ada(), 11), (app.bob(), 10)] {
        let refused = caller.create(&document, size).await.expect_err("uploaded already");
        assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "DOCUMENT_ALREADY_UPLOADED".into()));
    }
    assert_eq!(ada.download(&document, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn eight_creates_at_once_find_one_session() {
    let app = App::start().await;
    for _ in 0..5 {
        let document = app.new_document().await;
        let mut creates = JoinSet::new();
        for _ in 0..8 {
            let (mut ada, document) = (app.ada(), document.clone());
            creates.spawn(async move { ada.create(&document, 1000).await });
        }
        let sessions = creates.join_all().await.into_iter().map(|session| session.expect("a session").name);
        assert_eq!(sessions.collect::<HashSet<_>>().len(), 1, "all of them get the same session");
    }
    assert_eq!(count(&app, "select count(*) from upload_session").await, 5);
    assert_eq!(count(&app, "select count(*) from audit where action = 'create'").await, 5);
}

#[tokio::test]
async fn of_two_owners_at_once_only_one_gets_the_session() {
    let app = App::start().await;
    for _ in 0..5 {
        let document = app.new_document().await;
        let mut creates = JoinSet::new();
        for mut caller in [app.ada(), app.bob(), app.ada(), app.bob(), app.robot(), app.robot(), app.ada(), app.bob()] {
            let document = document.clone();
            creates.spawn(async move { caller.create(&document, 1000).await });
        }
        let (mut owners, mut sessions) = (Vec::new(), HashSet::new());
        for created in creates.join_all().await {
            match created {
                Ok(session) => {
                    owners.push(session.owner);
                    sessions.insert(session.name);
                }
                Err(status) => {
                    assert_eq!(status.code_and_reason(), (Code::AlreadyExists, "UPLOAD_SESSION_ACTIVE".into()));
                    sessions.extend(status.metadata_of("session"));
                }
            }
        }
        assert_eq!(sessions.len(), 1, "every create returns the same session");
        owners.dedup();
        assert_eq!(owners.len(), 1, "it has one owner");
    }
    assert_eq!(count(&app, "select count(*) from upload_session").await, 5);
}

#[tokio::test]
async fn properties_out_of_bounds_are_refused() {
    let app = App::with([("max-document-bytes", "5000")]).await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let pdf = "application/pdf";
    let long_type = format!("a/{}", "b".repeat(254));
    let cases = [
        (properties("", pdf, 1), "properties.document_name"),
        (properties(&"n".repeat(256), pdf, 1), "properties.document_name"),
        (properties(&"ü".repeat(256), pdf, 1), "properties.document_name"),
        (properties("a\nb", pdf, 1), "properties.document_name"),
        (properties("a\0b", pdf, 1), "properties.document_name"),
        (properties("a\u{7f}", pdf, 1), "properties.document_name"),
        (properties("a\u{85}", pdf, 1), "properties.document_name"),
        (properties("a\u{202e}fdp.exe", pdf, 1), "properties.document_name"),
        (properties("a\u{200b}b", pdf, 1), "properties.document_name"),
        (properties("n", "", 1), "properties.content_type"),
        (properties("n", "pdf", 1), "properties.content_type"),
        (properties("n", "application/", 1), "properties.content_type"),
        (properties("n", "/pdf", 1), "properties.content_type"),
        (properties("n", "application /pdf", 1), "properties.content_type"),
        (properties("n", "application/pdf\r\n", 1), "properties.content_type"),
        (properties("n", "application/pdf; x=ü", 1), "properties.content_type"),
        (properties("n", &long_type, 1), "properties.content_type"),
        (properties("n", pdf, 0), "properties.size_bytes"),
        (properties("n", pdf, -1), "properties.size_bytes"),
        (properties("n", pdf, i64::MIN), "properties.size_bytes"),
    ];
    let cases = cases.into_iter().map(|(properties, field)| (Some(properties), field));
    for (properties, field) in cases.chain([(None, "properties")]) {
        let request = CreateUploadSessionRequest { parent: document.clone(), properties };
        let refused = ada.client.sessions.create_upload_session(request.clone()).await.expect_err("bad properties");
        assert_eq!(refused.bad_fields(), [field], "{request:?}");
    }
    for size_bytes in [5001, i64::MAX] {
        let properties = Some(properties("n", pdf, size_bytes));
        let request = CreateUploadSessionRequest { parent: document.clone(), properties };
        let refused = ada.client.sessions.create_upload_session(request).await.expect_err("too large");
        assert_eq!(refused.too_large("DOCUMENT"), ("properties.size_bytes".into(), 5000));
    }
    assert_eq!(count(&app, "select count(*) from upload_session").await, 0, "nothing was created");
}

#[tokio::test]
async fn properties_at_their_bounds_are_kept_as_they_are() {
    let app = App::with([("max-document-bytes", "5000")]).await;
    let mut ada = app.ada();
    let cases = [
        properties("n", "a/b", 1),
        properties(&"ü".repeat(255), "text/plain; charset=utf-8", 5000),
        properties("Ä 🖨 \"%s\" '; drop table tenant; --", &format!("a/{}", "b".repeat(253)), 4999),
    ];
    for properties in cases {
        let parent = app.new_document().await;
        let request = CreateUploadSessionRequest { parent, properties: Some(properties.clone()) };
        let session = ada.client.sessions.create_upload_session(request).await.expect("a session").into_inner();
        assert_eq!(session.properties.as_ref(), Some(&properties));
        assert_eq!(ada.get(&session.name).await.expect("the session").properties, Some(properties));
    }
}

#[tokio::test]
async fn a_parent_that_is_no_documents_name_is_refused() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let malformed = [
        String::new(),
        "/".into(),
        format!("/{document}"),
        format!("{document}/"),
        format!("{document}/uploadSession"),
        document.replace("printers", "queues"),
        document.replace("printers/p", "printers/"),
        document.replace("printers/p", "printers/p q"),
        document.replace("printers/p", &format!("printers/{}", "p".repeat(129))),
        format!("printers/p/jobs/1/documents/{}", Uuid::new_v4().simple()),
        "printers/p/jobs/1/documents/1".into(),
        format!("uploadSessions/{}", Uuid::new_v4()),
    ];
    for parent in malformed {
        let refused = ada.create(&parent, 10).await.expect_err("a malformed name");
        assert_eq!(refused.bad_fields(), ["parent"], "{parent}");
    }
    let (queue, _) = document.split_once("/documents/").expect("a document's name");
    for unknown in [
        format!("{queue}/documents/{}", Uuid::new_v4()),
        document.replace("printers/p", "printers/q"),
        document.replace("printers/p", "shares/t"),
        document.replace("/jobs/", "/jobs/x"),
    ] {
        let refused = ada.create(&unknown, 10).await.expect_err("no such document");
        assert_eq!(refused.code_and_reason(), (Code::NotFound, "DOCUMENT_NOT_FOUND".into()), "{unknown}");
    }
    assert_eq!(count(&app, "select count(*) from upload_session").await, 0, "nothing was created");
}

#[tokio::test]
async fn an_upload_url_is_one_that_every_client_can_use() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, 10).await.expect("a session");
    let (address, token) = session.upload_url.split_once("?tempauthtoken=").expect("a token");
    let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    assert!(token.chars().all(unreserved), "nothing in {token} is taken for a template or an escape");
    let masked = session.upload_url.replace(&session.etag, "{id}").replace(token, "{token}");
    insta::assert_snapshot!(masked, @"http://127.0.0.1:8080/uploadSessions/{id}?tempauthtoken={token}");
    assert_eq!(address.split('/').skip(3).count(), 2, "a client that takes the first segment for a version is right");

    let app = App::with([("public-url", "https://upload.example/print/")]).await;
    let session = app.ada().create(&app.new_document().await, 10).await.expect("a session");
    let (address, _) = session.upload_url.split_once('?').expect("a query");
    assert_eq!(address, format!("https://upload.example/print/uploadSessions/{}", session.etag));
}
