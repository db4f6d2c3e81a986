//! Cancel by the document's path: `DELETE …/documents/{id}/uploadSession`.

use axum::http::Method;
use print_upload::proto::upload_session::State;

use crate::harness::{App, RestActor, TENANT, eventually, refused, sample_bytes};

fn path(document: &str) -> String {
    format!("/print/{document}/uploadSession")
}

fn by_share(document: &str) -> String {
    document.replacen("printers/p/", "shares/s/", 1)
}

#[tokio::test]
async fn a_delete_returns_204_and_nothing_else_however_often() {
    let app = App::start().await;
    let (ada, document, bytes) = (app.rest(&app.ada()), app.new_document().await, sample_bytes(1000));
    let url = ada.begin(&document, 1000).await;
    assert_eq!(ada.put(&url, &bytes, 0..500).await.status, 202);
    let session = app.ada().get(&format!("{document}/uploadSession")).await.expect("the session");

    for _ in 0..3 {
        let answer = ada.cancel(&document).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        assert_eq!((answer.header("content-length"), answer.header("content-type")), ("", ""));
        assert!(!answer.header("request-id").is_empty());
    }

    let canceled = app.ada().get(&session.name).await.expect("the tombstone");
    assert_eq!((canceled.state(), canceled.ended_by), (State::Canceled, session.owner.clone()));
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
    ada.begin(&document, 1000).await;
}

#[tokio::test]
async fn every_way_to_the_document_leads_to_its_session() {
    let app = App::start().await;
    let ada = app.rest(&app.ada());
    for prefix in ["", "/v1.0", "/beta"] {
        let document = app.new_document().await;
        for document in [document.clone(), by_share(&document)] {
            ada.begin(&document, 1000).await;
            let path = format!("{prefix}{}", path(&document));
            assert_eq!(ada.get(&path).await.status, 200, "{path}");
            assert_eq!(ada.delete(&path).await.status, 204, "{path}");
            assert_eq!(ada.get(&path).await.reason(), refused(404, "UPLOAD_SESSION_CANCELED"), "{path}");
        }
    }
}

#[tokio::test]
async fn nobody_else_deletes_it() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    ada.begin(&document, 1000).await;
    let weak = app.user(TENANT, "ada", &["PrintJob.Create", "PrintJob.Read", "Printer.Read.All"]);
    let strangers = [
        ("another user", app.rest(&app.bob()), refused(403, "NOT_SESSION_OWNER")),
        ("an application", app.rest(&app.robot()), refused(403, "NOT_SESSION_OWNER")),
        ("another tenant's user", app.rest(&app.mallory()), refused(404, "DOCUMENT_NOT_FOUND")),
        ("nobody", app.anonymous_rest(), refused(401, "TOKEN_MISSING")),
        ("anybody", RestActor::new(app.rest_address, Some("no.real.token")), refused(401, "TOKEN_MALFORMED")),
        ("ada without the scope", app.rest(&weak), refused(403, "PERMISSION_MISSING")),
    ];
    for (who, stranger, expected) in strangers {
        assert_eq!(stranger.cancel(&document).await.reason(), expected, "{who}");
    }
    assert_eq!(ada.get(&path(&document)).await.status, 200, "nothing has changed");
}

#[tokio::test]
async fn a_caller_without_a_good_token_learns_which_kind_is_wanted() {
    let app = App::start().await;
    let document = app.new_document().await;
    let missing = app.anonymous_rest().cancel(&document).await;
    insta::assert_snapshot!(missing.header("www-authenticate"), @r#"Bearer realm="print-upload""#);
    let bad = RestActor::new(app.rest_address, Some("bad")).cancel(&document).await;
    insta::assert_snapshot!(bad.header("www-authenticate"), @r#"Bearer realm="print-upload", error="invalid_token""#);
}

#[tokio::test]
async fn a_completed_upload_is_not_there_to_be_canceled() {
    let app = App::start().await;
    let (ada, document, bytes) = (app.rest(&app.ada()), app.new_document().await, sample_bytes(1000));
    let url = ada.begin(&document, 1000).await;
    assert_eq!(ada.put(&url, &bytes, 0..1000).await.status, 201);

    for path in [path(&document), url] {
        assert_eq!(ada.delete(&path).await.reason(), refused(404, "UPLOAD_SESSION_COMPLETED"));
        let seen = ada.get(&path).await;
        assert_eq!(seen.reason(), refused(404, "UPLOAD_SESSION_COMPLETED"));
        assert_eq!(seen.json()["error"]["innerError"]["endReason"], "uploadCompleted");
    }
    assert_eq!(app.ada().download(&document, 0).await.expect("the document").1, bytes);
}

#[tokio::test]
async fn if_match_names_the_session_that_is_meant() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let old = ada.create(&document, 1000).await.header("etag").to_owned();
    assert_eq!(ada.cancel(&document).await.status, 204);
    let new = ada.create(&document, 1000).await.header("etag").to_owned();
    assert!(old != new && new.starts_with('"') && new.ends_with('"'), "{new}");
    let cancel = async |tag: &str| {
        let headers = [("if-match", tag)];
        ada.send(Method::DELETE, &path(&document), &headers, "").await
    };

    assert_eq!(cancel(&old).await.status, 204, "it was canceled before, and the newer one is not touched");
    assert_eq!(cancel("\"01a2123a-5595-7663-b5f3-3942098ca67c\"").await.reason(), refused(412, "ETAG_MISMATCH"));
    for tag in ["", "\"\"", "\"a\", \"b\""] {
        assert_eq!(cancel(tag).await.reason(), refused(400, "IF_MATCH_INVALID"), "{tag}");
    }
    assert_eq!(ada.get(&path(&document)).await.header("etag"), new, "nothing has changed");

    assert_eq!(cancel(&format!("W/{new}")).await.status, 204);
    assert_eq!(ada.get(&path(&document)).await.status, 404);
    let newest = ada.create(&document, 1000).await.header("etag").to_owned();
    assert_ne!(newest, new);
    assert_eq!(cancel("*").await.status, 204, "whichever there is");
}

#[tokio::test]
async fn a_request_body_is_ignored() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    for body in [&b"{}"[..], b"\0\xff", &[7; 300_000]] {
        ada.begin(&document, 1000).await;
        let answer = ada.send(Method::DELETE, &path(&document), &[], body.to_vec()).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
    }
}

#[tokio::test]
async fn an_owner_who_has_lost_the_upload_url_gets_a_new_one() {
    let app = App::start().await;
    let (ada, document, bytes) = (app.rest(&app.ada()), app.new_document().await, sample_bytes(1000));
    ada.begin(&document, 1000).await;

    let seen = ada.get(&path(&document)).await.json();
    let url = seen["uploadUrl"].as_str().expect("an upload URL");
    assert_eq!(app.anonymous_rest().put(url, &bytes, 0..400).await.status, 202);

    let mut seen = ada.get(&path(&document)).await.json();
    for changing in ["uploadUrl", "id", "createdDateTime", "expirationDateTime"] {
        assert!(seen[changing].take().as_str().is_some_and(|value| !value.is_empty()), "{changing}");
    }
    insta::assert_snapshot!(seen, @r##"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.uploadSession","contentType":"application/pdf","createdBy":{"user":{"id":"ada"}},"createdDateTime":null,"documentName":"poster.pdf","expirationDateTime":null,"id":null,"nextExpectedRanges":["400-999"],"size":1000,"uploadUrl":null}"##);
}

#[tokio::test]
async fn a_session_that_never_was_is_not_found() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    assert_eq!(ada.cancel(&document).await.reason(), refused(404, "UPLOAD_SESSION_NOT_FOUND"));
    assert_eq!(ada.get(&path(&document)).await.reason(), refused(404, "UPLOAD_SESSION_NOT_FOUND"));
    assert_eq!(ada.cancel(&document.replace("printers/p", "printers/q")).await.status, 404);
}
