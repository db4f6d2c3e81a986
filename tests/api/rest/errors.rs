//! OData errors, the ids on every answer, and invalid requests.

use axum::http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Answer, App, RestActor, Stalled, refused};

#[tokio::test]
async fn an_error_has_odatas_shape_and_the_ids_of_its_answer() {
    let app = App::start().await;
    let (bob, document) = (app.rest(&app.bob()), app.new_document().await);
    app.rest(&app.ada()).begin(&document, 10).await;
    let path = format!("/print/{document}/uploadSession");
    let answer = bob.send(Method::DELETE, &path, &[("client-request-id", "my-own-id")], "").await;

    let mut body = answer.json();
    let inner = &mut body["error"]["innerError"];
    assert_eq!(inner["request-id"].take(), answer.header("request-id"));
    assert_eq!(inner["date"].take().as_str().map(str::len), Some("2020-10-14T05:16:49".len()));
    assert_eq!(answer.header("client-request-id"), "my-own-id");
    insta::assert_snapshot!(body, @r#"{"error":{"code":"accessDenied","innerError":{"client-request-id":"my-own-id","date":null,"reason":"NOT_SESSION_OWNER","request-id":null},"message":"the upload session was created by somebody else"}}"#);
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_it_is_the_one_in_the_audit_trail() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let created = ada.create(&document, 10).await;
    let session = app.ada().get(&format!("{document}/uploadSession")).await.expect("the session");
    let canceled = ada.cancel(&document).await;
    let audited: Vec<String> =
        app.audit_of(&session).await.into_iter().map(|row| row.request_id.expect("a request")).collect();
    assert_eq!(audited, [created.header("request-id"), canceled.header("request-id")]);

    for path in ["/nothing", "/openapi.json", "/print/printers/p/jobs", "/print/queues/p/jobs/1"] {
        let answer = ada.get(path).await;
        assert!(Uuid::try_parse(answer.header("request-id")).is_ok(), "{path}: {answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}: {answer:?}");
        assert_eq!(answer.header("client-request-id"), "", "none was sent");
    }
    let long = "x".repeat(129);
    let answer = ada.send(Method::GET, "/nothing", &[("client-request-id", &long)], "").await;
    assert_eq!(answer.header("client-request-id"), "", "nor is anything given back that is no id");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_reported_as_such() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    for path in ["/", "/print", "/v2.0/print/printers/p/jobs", "/print/queues/p/jobs/1", "/uploadSessions/a/b"] {
        assert_eq!(ada.get(path).await.refusal(), (404, "itemNotFound".into(), "PATH_UNKNOWN".into()), "{path}");
    }
    let cases = [
        (Method::PATCH, format!("/print/{document}/uploadSession"), "GET,HEAD,DELETE"),
        (Method::PUT, format!("/v1.0/print/{document}/uploadSession"), "GET,HEAD,DELETE"),
        (Method::POST, "/uploadSessions/x".into(), "PUT,GET,HEAD,DELETE"),
        (Method::GET, "/print/printers/p/jobs".into(), "POST"),
        (Method::GET, format!("/beta/print/{document}/createUploadSession"), "POST"),
    ];
    for (method, path, allowed) in cases {
        let answer = ada.send(method, &path, &[], "").await;
        assert_eq!(answer.refusal(), (405, "notAllowed".into(), "METHOD_NOT_ALLOWED".into()), "{path}");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_the_json_of_the_call_is_refused() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let path = format!("/print/{document}/createUploadSession");
    let post = async |content_type: &str, body: &str| {
        let headers: &[_] = if content_type.is_empty() { &[] } else { &[("content-type", content_type)] };
        ada.send(Method::POST, &path, headers, body.to_owned()).await
    };
    let good = r#"{"properties": {"documentName": "a", "contentType": "a/b", "size": 1}}"#;
    for content_type in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        assert_eq!(post(content_type, good).await.reason(), refused(415, "CONTENT_TYPE_NOT_JSON"), "{content_type}");
    }
    for body in ["", "{", "[]", r#"[["a", "a/b", 1]]"#, "\"{}\""] {
        assert_eq!(post("application/json", body).await.reason(), refused(400, "BODY_NOT_JSON"), "{body}");
    }
    let array = r#"{"properties": ["a", "a/b", 1]}"#;
    for body in ["{}", r#"{"properties": {}}"#, array, &good.replace('1', "1.5"), &good.replace('1', "\"1\"")] {
        assert_eq!(post("application/json", body).await.reason(), refused(400, "INVALID_FIELD"), "{body}");
    }
    let long = format!("{good}{}", " ".repeat(64 * 1024));
    assert_eq!(post("application/json", &long).await.reason(), refused(413, "BODY_TOO_LARGE"));
    assert_eq!(post("application/json; charset=utf-8", good).await.status, 200);
    assert_eq!(post("application/json", &good.replace('1', "1.0")).await.status, 200, "JSON knows no difference");
}

#[tokio::test]
async fn properties_out_of_bounds_are_named() {
    let app = App::with([("max-document-bytes", "5000")]).await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let large = ada.create(&document, 5001).await;
    assert_eq!(large.refusal(), (413, "invalidRequest".into(), "DOCUMENT_TOO_LARGE".into()));
    let inner = &large.json()["error"]["innerError"];
    assert_eq!((&inner["code"], &inner["maxBytes"]), (&json!("maxFileSizeExceeded"), &json!("5000")));
    let empty = ada.create(&document, 0).await;
    assert_eq!(empty.refusal(), (400, "invalidRequest".into(), "INVALID_FIELD".into()));
    assert_eq!(empty.json()["error"]["innerError"]["fields"], json!(["properties.size"]));
}

#[tokio::test]
async fn a_segment_that_hides_a_slash_names_nothing() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    ada.begin(&document, 10).await;
    let hidden = document.replace('/', "%2F");
    let paths = [
        format!("/print/printers/{}/uploadSession", hidden.replacen("printers%2F", "", 1)),
        format!("/print/{}/uploadSession", document.replace("/documents/", "%2Fdocuments%2F")),
        format!("/print/printers/p/jobs/{}", document.split_once("jobs/").expect("a job").1.replace('/', "%2F")),
        "/print/printers/%FF/jobs/1".into(),
        "/uploadSessions/%FF".into(),
        "/uploadSessions/..%2F..?tempauthtoken=x".into(),
    ];
    for path in paths {
        let (status, reason) = ada.delete(&path).await.reason();
        assert!(matches!(status, 400 | 401 | 404 | 405), "{path}: {status} {reason}");
    }
    assert_eq!(ada.get(&format!("/print/{document}/uploadSession")).await.status, 200, "nothing has changed");
}

#[tokio::test]
async fn headers_of_grpc_mean_nothing_over_rest() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    ada.begin(&document, 10).await;
    let headers = [("grpc-timeout", "1n"), ("request-id", "mine"), ("upload-token", "x")];
    let canceled = ada.send(Method::DELETE, &format!("/print/{document}/uploadSession"), &headers, "").await;
    assert_eq!((canceled.status, canceled.header("grpc-status")), (204, ""));
    assert!(Uuid::try_parse(canceled.header("request-id")).is_ok(), "{canceled:?}");
    assert_eq!(ada.get(&format!("/print/{document}/uploadSession")).await.status, 404, "it was canceled");
}

#[tokio::test]
async fn a_credential_that_cannot_be_one_is_refused() {
    let app = App::start().await;
    let document = app.new_document().await;
    let long = "x".repeat(17_000);
    let answers = [
        RestActor::new(app.rest_address, Some(&long)).cancel(&document).await,
        app.anonymous_rest().get(&format!("/uploadSessions/x?tempauthtoken={long}")).await,
    ];
    for answer in answers {
        assert_eq!(answer.refusal(), (431, "invalidRequest".into(), "CREDENTIAL_TOO_LARGE".into()));
        assert_eq!(answer.json()["error"]["innerError"]["maxBytes"], "16384");
    }
    let no_text = app.anonymous_rest().get("/uploadSessions/x?tempauthtoken=%00").await;
    assert_eq!(no_text.reason(), refused(401, "TOKEN_MALFORMED"));
}

/// Ada's document, her range of it that stalls, and the answer to another range of hers.
async fn second_writer(app: &App) -> (String, Stalled, Answer) {
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let (url, bytes) = (ada.begin(&document, 1000).await, crate::harness::sample_bytes(1000));
    let session = app.ada().get(&format!("{document}/uploadSession")).await.expect("the session");
    let stalled = app.ada().stall(&session, &bytes, 0..500);
    crate::harness::eventually("a writer is under way", async || app.files_of(&session).len() == 1).await;
    (document, stalled, ada.put(&url, &bytes, 500..1000).await)
}

#[tokio::test]
async fn a_fifth_writer_learns_when_to_retry() {
    let app = App::with([("max-writers", "1")]).await;
    let (_, (_still_held, stalled), answer) = second_writer(&app).await;

    assert_eq!(answer.refusal(), (429, "activityLimitReached".into(), "TOO_MANY_WRITERS".into()));
    assert_eq!(answer.header("retry-after"), "1");
    stalled.abort();
}

#[tokio::test]
async fn a_user_with_too_many_ranges_learns_the_limit_and_when_to_retry() {
    let app = App::with([("max-transfers", "4")]).await;
    let (document, (_still_held, stalled), answer) = second_writer(&app).await;

    assert_eq!(answer.refusal(), (429, "activityLimitReached".into(), "TOO_MANY_TRANSFERS".into()));
    assert_eq!(answer.header("retry-after"), "1");
    let inner = &answer.json()["error"]["innerError"];
    assert_eq!((inner["limit"].as_str(), inner["maxTransfers"].as_str()), (Some("caller"), Some("1")));
    assert_eq!(app.rest(&app.ada()).cancel(&document).await.status, 204, "a cancel is never refused for load");
    stalled.await.expect("no panic").expect_err("canceled");
}

#[tokio::test]
async fn without_its_database_the_service_is_unavailable_and_nothing_is_not_found() {
    let (app, mut proxy) = App::behind_proxy().await;
    let document = app.new_document().await;
    proxy.stop().await;
    let ada = app.rest(&app.ada());
    let answers =
        [ada.cancel(&document).await, ada.get(&format!("/print/{document}")).await, ada.create(&document, 1).await];
    for answer in answers {
        assert_eq!(answer.refusal(), (503, "serviceNotAvailable".into(), "DATABASE_UNAVAILABLE".into()));
        assert_eq!(answer.header("retry-after"), "1");
        let message: Value = answer.json()["error"]["message"].clone();
        assert!(!message.to_string().contains("127.0.0.1"), "nothing internal leaks: {message}");
    }
}
