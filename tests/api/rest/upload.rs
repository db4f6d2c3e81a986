//! `createUploadSession` and the upload URL, in every detail that real clients depend on.

use std::collections::BTreeMap;

use axum::http::Method;
use bytes::Bytes;
use print_upload::proto::UploadLimits;
use serde_json::json;

use crate::harness::{Answer, App, RestActor, refused, sample_bytes};

/// A gateway, ada, a document of hers, and a caller without a token, who has only upload URLs.
async fn stage() -> (App, RestActor, String, RestActor) {
    let app = App::start().await;
    let (ada, document, anyone) = (app.rest(&app.ada()), app.new_document().await, app.anonymous_rest());
    (app, ada, document, anyone)
}

#[tokio::test]
async fn a_session_is_created_in_the_shape_that_sdks_read() {
    let (_app, ada, document, _) = stage().await;
    let created = ada.create(&document, 4_533_322).await;
    assert_eq!(created.status, 200);
    let mut shape = created.json();
    let expires = shape["expirationDateTime"].take();
    let expires = expires.as_str().expect("a moment");
    assert!(
        expires.ends_with('Z') && expires.split_once('.').is_some_and(|(_, digits)| digits.len() == 8),
        "{expires}"
    );
    let url = shape["uploadUrl"].take();
    assert!(url.as_str().is_some_and(|url| url.contains("/uploadSessions/")), "{url}");
    insta::assert_snapshot!(shape, @r##"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.uploadSession","expirationDateTime":null,"nextExpectedRanges":["0-4533321"],"uploadUrl":null}"##);

    let again = ada.create(&document, 4_533_322).await;
    assert_eq!((again.status, again.header("etag")), (200, created.header("etag")), "a repeated create is harmless");
    let other = ada.create(&document, 5).await;
    assert_eq!(other.refusal(), (409, "notAllowed".into(), "UPLOAD_SESSION_ACTIVE".into()));
}

#[tokio::test]
async fn annotations_of_sdks_in_the_body_mean_nothing() {
    let (_app, ada, document, _) = stage().await;
    let path = format!("/beta/print/{document}/createUploadSession");
    let properties = json!({
        "@odata.type": "#microsoft.graph.printDocumentUploadProperties",
        "documentName": "poster.pdf", "contentType": "application/pdf", "size": 10,
    });
    let created = ada.post_json(&path, &json!({"properties": properties})).await;
    assert_eq!(created.status, 200, "{created:?}");
    let context = "https://graph.microsoft.com/beta/$metadata#microsoft.graph.uploadSession";
    assert_eq!(created.json()["@odata.context"], context);
}

/// The members of `Upload-Limit`.
fn upload_limit(answer: &Answer) -> BTreeMap<String, u64> {
    let members = answer.header("upload-limit").split(", ").filter_map(|member| member.split_once('='));
    members.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

#[tokio::test]
async fn answers_about_an_active_upload_state_what_it_still_accepts() {
    let app = App::with([("max-range-bytes", "700"), ("session-idle-timeout", "2h")]).await;
    let (ada, document, anyone) = (app.rest(&app.ada()), app.new_document().await, app.anonymous_rest());
    let (created, bytes) = (ada.create(&document, 1000).await, sample_bytes(1000));
    let url = created.json()["uploadUrl"].as_str().expect("an upload URL").to_owned();
    let answers = [
        created,
        ada.get(&format!("/print/{document}/uploadSession")).await,
        anyone.get(&url).await,
        anyone.put(&url, &bytes, 0..500).await,
    ];
    for answer in answers {
        let limit = upload_limit(&answer);
        assert_eq!((limit["max-size"], limit["max-append-size"]), (1000, 700), "{answer:?}");
        // The session has two hours, and the test has begun.
        assert!((3600..=7200).contains(&limit["max-age"]), "{answer:?}");
    }
    let session = app.ada().get(&format!("{document}/uploadSession")).await.expect("the session");
    assert_eq!(session.limits, Some(UploadLimits { max_range_bytes: 700, max_ranges: 4 }));

    let completed = anyone.put(&url, &bytes, 500..1000).await;
    assert_eq!((completed.status, completed.header("upload-limit")), (201, ""));
    let session = app.ada().get(&session.name).await.expect("the session");
    assert_eq!(session.limits, None);
}

#[tokio::test]
async fn ranges_come_in_any_order_and_the_last_missing_one_completes_the_document() {
    let (app, ada, document, anyone) = stage().await;
    let bytes = sample_bytes(1000);
    let url = ada.begin(&document, 1000).await;

    let first = anyone.put(&url, &bytes, 700..1000).await;
    assert_eq!((first.status, first.missing()), (202, vec!["0-699".to_owned()]));
    assert_eq!(anyone.put(&url, &bytes, 0..1).await.missing(), ["1-699"]);
    assert_eq!(anyone.put(&url, &bytes, 300..400).await.missing(), ["1-299", "400-699"]);
    let seen = anyone.get(&url).await;
    assert_eq!((seen.status, seen.missing()), (200, vec!["1-299".to_owned(), "400-699".to_owned()]));
    // As the JavaScript SDK sends it: from the start of a gap, and past its end.
    assert_eq!(anyone.put(&url, &bytes, 1..500).await.missing(), ["500-699"]);
    let last = anyone.put(&url, &bytes, 500..700).await;

    assert_eq!(last.status, 201);
    let mut shape = last.json();
    assert_eq!(document.rsplit('/').next(), shape["id"].take().as_str());
    assert!(shape["uploadedDateTime"].take().is_string());
    insta::assert_snapshot!(shape, @r#"{"contentType":"application/pdf","displayName":"poster.pdf","documentName":"poster.pdf","id":null,"size":1000,"uploadedDateTime":null}"#);
    assert_eq!(app.ada().download(&document, 0).await.expect("the document").1, bytes);
}

#[tokio::test]
async fn both_spellings_of_content_range_and_any_content_type_are_taken() {
    let (_app, ada, document, anyone) = stage().await;
    let bytes = sample_bytes(40);
    let url = ada.begin(&document, 40).await;
    let put = async |range: &str, start: usize, content_type: &str| {
        let headers = [("content-range", range), ("content-type", content_type)];
        anyone.send(Method::PUT, &url, &headers, bytes.slice(start..start + 10)).await
    };
    assert_eq!(put("bytes=0-9/40", 0, "application/octet-stream").await.status, 202);
    assert_eq!(put("bytes 10-19/40", 10, "application/json").await.status, 202);
    assert_eq!(put("Bytes 20-29/40", 20, "application/pdf").await.status, 202);
    assert_eq!(put("bytes=30-39/40", 30, "no media type at all").await.status, 201);
}

#[tokio::test]
async fn a_bearer_token_on_an_upload_url_is_ignored() {
    let (app, ada, document, _) = stage().await;
    let bytes = sample_bytes(30);
    let url = ada.begin(&document, 30).await;
    for (start, token) in [(0, "nonsense"), (10, "a.b.c")] {
        let stray = RestActor::new(app.rest_address, Some(token));
        assert_eq!(stray.put(&url, &bytes, start..start + 10).await.status, 202);
    }
    assert_eq!(app.rest(&app.mallory()).get(&url).await.status, 200);
    let without_capability = url.split('?').next().expect("a path");
    assert_eq!(
        ada.get(without_capability).await.reason(),
        refused(401, "TOKEN_MISSING"),
        "nor does it stand in for it"
    );
    assert_eq!(ada.delete(without_capability).await.status, 401);
    assert_eq!(ada.put(without_capability, &bytes, 20..30).await.status, 401);
    let forged = format!("{without_capability}?tempauthtoken=forged");
    assert_eq!(ada.get(&forged).await.reason(), refused(401, "UPLOAD_TOKEN_INVALID"));
}

#[tokio::test]
async fn an_upload_url_opens_no_graph_path_and_no_other_session() {
    let (app, ada, document, anyone) = stage().await;
    let (url, other) = (ada.begin(&document, 30).await, ada.begin(&app.new_document().await, 30).await);
    let token = url.split_once("tempauthtoken=").expect("a token").1;
    for path in [format!("/print/{document}/uploadSession"), format!("/v1.0/print/{document}")] {
        let query = format!("{path}?tempauthtoken={token}");
        assert_eq!(anyone.get(&query).await.reason(), refused(401, "TOKEN_MISSING"));
        let metadata = [("upload-token", token)];
        assert_eq!(anyone.send(Method::GET, &path, &metadata, "").await.reason(), refused(401, "TOKEN_MISSING"));
    }
    let crossed = format!("{}?tempauthtoken={token}", other.split('?').next().expect("a path"));
    assert_eq!(anyone.get(&crossed).await.reason(), refused(403, "UPLOAD_TOKEN_NOT_ACCEPTED"));
    assert_eq!(anyone.delete(&crossed).await.status, 403);
}

#[tokio::test]
async fn what_was_received_before_is_416_until_the_document_is_complete() {
    let (_app, ada, document, anyone) = stage().await;
    let bytes = sample_bytes(100);
    let url = ada.begin(&document, 100).await;
    assert_eq!(anyone.put(&url, &bytes, 50..100).await.status, 202);
    for known in [50..100, 60..70, 99..100] {
        let answer = anyone.put(&url, &bytes, known).await;
        assert_eq!(answer.refusal(), (416, "invalidRange".into(), "RANGE_ALREADY_RECEIVED".into()));
        assert_eq!(answer.json()["error"]["innerError"]["code"], "fragmentOverlap");
    }

    // The Python SDK sends the last slice again after the 201, and fails unless it gets the same answer.
    let completed = anyone.put(&url, &bytes, 0..50).await;
    for _ in 0..2 {
        let again = anyone.put(&url, &bytes, 0..50).await;
        assert_eq!((again.status, again.json()), (201, completed.json()));
    }
    // When the document is one slice, the SDK repeats it without bytes (msgraph-sdk-python-core, issue 718).
    let headers = [("content-range", "bytes 0-49/100"), ("content-length", "0")];
    let empty = anyone.send(Method::PUT, &url, &headers, "").await;
    assert_eq!((empty.status, empty.json()), (201, completed.json()));
    assert_eq!(anyone.put(&url, &bytes, 50..100).await.reason(), refused(404, "UPLOAD_SESSION_COMPLETED"));
    let others = anyone.put(&url, &Bytes::from(vec![0; 100]), 0..50).await;
    assert_eq!(others.reason(), refused(404, "UPLOAD_SESSION_COMPLETED"), "other bytes are not a repeat");
}

#[tokio::test]
async fn a_canceled_upload_is_a_conflict_for_writers_and_not_found_for_readers() {
    let (_app, ada, document, anyone) = stage().await;
    let bytes = sample_bytes(100);
    let url = ada.begin(&document, 100).await;
    assert_eq!(anyone.put(&url, &bytes, 0..50).await.status, 202);

    assert_eq!(anyone.delete(&url).await.status, 204);

    let late = anyone.put(&url, &bytes, 50..100).await;
    assert_eq!(late.refusal(), (409, "notAllowed".into(), "UPLOAD_SESSION_CANCELED".into()));
    let answer = anyone.get(&url).await;
    assert_eq!(answer.refusal(), (404, "itemNotFound".into(), "UPLOAD_SESSION_CANCELED".into()));
    let inner = &answer.json()["error"]["innerError"];
    assert_eq!((&inner["code"], &inner["endReason"]), (&json!("uploadSessionNotFound"), &json!("deleted")));
    assert!(inner["endedDateTime"].is_string(), "{inner}");
    assert_eq!(anyone.delete(&url).await.status, 204, "as often as one likes");
}

#[tokio::test]
async fn an_expired_upload_is_not_found_for_anyone() {
    let (app, ada, document, anyone) = stage().await;
    let bytes = sample_bytes(100);
    let url = ada.begin(&document, 100).await;
    let session = app.ada().get(&format!("{document}/uploadSession")).await.expect("the session");
    app.make_overdue(&session).await;
    assert_eq!(anyone.put(&url, &bytes, 0..50).await.reason(), refused(404, "UPLOAD_SESSION_EXPIRED"));
    assert_eq!(anyone.get(&url).await.reason(), refused(404, "UPLOAD_SESSION_EXPIRED"));
    assert_eq!(
        ada.get(&format!("/print/{document}/uploadSession")).await.reason(),
        refused(404, "UPLOAD_SESSION_EXPIRED")
    );
    assert_eq!(anyone.delete(&url).await.status, 204);
}

#[tokio::test]
async fn a_slice_that_is_none_is_refused_before_its_bytes_are_read() {
    let (app, ada, document, anyone) = stage().await;
    let url = ada.begin(&document, 100).await;
    let put = async |range: &str, length: usize| {
        let headers = [("content-range", range)];
        anyone.send(Method::PUT, &url, &headers, vec![0; length]).await
    };
    let empty = async |range: &str| {
        let headers = [("content-range", range), ("content-length", "0")];
        anyone.send(Method::PUT, &url, &headers, "").await
    };
    let cases = [
        (put("bytes 0-9", 10).await, refused(400, "CONTENT_RANGE_INVALID")),
        (put("bytes 0-9/*", 10).await, refused(400, "CONTENT_RANGE_INVALID")),
        (put("bytes */100", 10).await, refused(400, "CONTENT_RANGE_INVALID")),
        (put("bytes 9-0/100", 10).await, refused(400, "CONTENT_RANGE_INVALID")),
        (put("bytes 0-9/100", 11).await, refused(400, "RANGE_LENGTH_MISMATCH")),
        // A client with an empty body sends no content-length, unless it is asked to.
        (put("bytes 0-9/100", 0).await, refused(411, "LENGTH_REQUIRED")),
        (empty("bytes 0-9/100").await, refused(400, "RANGE_LENGTH_MISMATCH")),
        (put("bytes 0-9/99", 10).await, refused(400, "INVALID_FIELD")),
        (put("bytes 95-104/100", 10).await, refused(400, "INVALID_FIELD")),
        (anyone.send(Method::PUT, &url, &[], "0123456789").await, refused(400, "CONTENT_RANGE_INVALID")),
    ];
    for (number, (answer, expected)) in cases.into_iter().enumerate() {
        assert_eq!(answer.reason(), expected, "case {number}");
    }
    assert_eq!(anyone.get(&url).await.missing(), ["0-99"], "nothing was taken");

    let large = 10 * 1024 * 1024 + 1;
    let url = ada.begin(&app.new_document().await, large).await;
    let answer = anyone.put(&url, &Bytes::from(vec![0; large]), 0..large).await;
    assert_eq!(answer.refusal(), (413, "invalidRequest".into(), "RANGE_TOO_LARGE".into()));
    assert_eq!(answer.json()["error"]["innerError"]["code"], "maxFragmentLengthExceeded");
}
