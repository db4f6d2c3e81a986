//! A whole print flow over REST: the calls on jobs and documents around an upload.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, App, refused, sample_bytes};

/// Masks what differs from run to run.
fn masked(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        for (name, value) in members {
            let changes = matches!(name.as_str(), "id" | "createdDateTime" | "uploadedDateTime");
            *value = if changes && value.is_string() { "…".into() } else { masked(value.take()) };
        }
    } else if let Some(elements) = value.as_array_mut() {
        elements.iter_mut().for_each(|element| *element = masked(element.take()));
    }
    value
}

#[tokio::test]
async fn a_whole_print_flow() {
    let app = App::start().await;
    let (ada, bytes) = (app.rest(&app.ada()), sample_bytes(1000));
    let configuration = json!({"copies": 2, "colorMode": "color", "pageRanges": [{"start": 1, "end": 1}]});

    let created = ada.post_json("/v1.0/print/shares/s/jobs", &json!({"configuration": configuration})).await;
    assert_eq!(created.status, 201, "{created:?}");
    let job = created.json();
    let path = format!("/v1.0/print/printers/p/jobs/{}", job["id"].as_str().expect("an id"));
    let document = job["documents"][0]["id"].as_str().expect("an id").to_owned();
    assert!(job["id"].as_str().is_some_and(|id| id.len() <= 9 && id.parse::<u32>().is_ok()), "{job}");
    insta::assert_snapshot!(masked(job), @r##"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#print/shares/s/jobs/$entity","configuration":{"colorMode":"color","copies":2,"pageRanges":[{"end":1,"start":1}]},"createdBy":{"id":"…"},"createdDateTime":"…","documents":[{"contentType":"","displayName":"","documentName":"","id":"…","size":0,"uploadedDateTime":null}],"id":"…","isFetchable":false,"redirectedFrom":null,"redirectedTo":null,"status":{"description":"The job is not a candidate for processing yet.","details":["uploadPending"],"isAcquiredByPrinter":false,"state":"paused"}}"##);

    let early = ada.post(&format!("{path}/start")).await;
    assert_eq!(early.refusal(), (409, "notAllowed".into(), "DOCUMENT_NOT_UPLOADED".into()));
    let name = format!("{}/documents/{document}", path.trim_start_matches("/v1.0/print/"));
    let url = ada.begin(&name, 1000).await;
    assert_eq!(ada.put(&url, &bytes, 0..1000).await.status, 201);
    let uploaded = ada.get(&path).await.json();
    assert_eq!(uploaded["status"]["details"], json!([]), "{uploaded}");

    let started = ada.post(&format!("{path}/start")).await;
    assert_eq!(started.status, 200);
    insta::assert_snapshot!(started.json(), @r##"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.printJobStatus","description":"The job waits for the printer.","details":[],"isAcquiredByPrinter":false,"state":"pending"}"##);
    let documents = ada.get(&format!("{path}/documents")).await.json();
    assert_eq!(documents["value"][0]["id"], document.as_str());
    insta::assert_snapshot!(masked(documents["value"].clone()), @r#"[{"contentType":"application/pdf","displayName":"poster.pdf","documentName":"poster.pdf","id":"…","size":1000,"uploadedDateTime":"…"}]"#);
    assert_eq!(ada.get(&format!("{path}/documents/{document}")).await.json()["size"], 1000);

    for _ in 0..2 {
        let canceled = ada.post(&format!("{path}/cancel")).await;
        assert_eq!((canceled.status, canceled.body.len()), (204, 0));
    }
    assert_eq!(ada.get(&path).await.json()["status"]["state"], "canceled");
    assert_eq!(ada.post(&format!("{path}/start")).await.reason(), refused(409, "PRINT_JOB_CANCELED"));
}

#[tokio::test]
async fn canceling_a_job_cancels_its_upload() {
    let app = App::start().await;
    let (ada, document, bytes) = (app.rest(&app.ada()), app.new_document().await, sample_bytes(1000));
    let url = ada.begin(&document, 1000).await;
    assert_eq!(ada.put(&url, &bytes, 0..500).await.status, 202);
    let (job, _) = document.split_once("/documents/").expect("a document's name");

    assert_eq!(ada.post(&format!("/print/{job}/cancel")).await.status, 204);

    assert_eq!(ada.put(&url, &bytes, 500..1000).await.reason(), refused(409, "UPLOAD_SESSION_CANCELED"));
    let answer = ada.get(&url).await;
    assert_eq!(answer.json()["error"]["innerError"]["endReason"], "printJobCanceled");
    assert_eq!(ada.create(&document, 1000).await.reason(), refused(409, "PRINT_JOB_CANCELED"));
}

#[tokio::test]
async fn a_job_shows_its_documents_when_asked_and_only_what_is_selected() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let path = format!("/beta/print/{}", document.split("/documents/").next().expect("a job"));
    let names = async |query: &str| {
        let answer = ada.get(&format!("{path}{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        answer.json().as_object().expect("a job").keys().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("?$select=id,status").await, "@odata.context id status");
    assert_eq!(names("?%24select=id&$expand=documents").await, "@odata.context documents id");
    let all = "@odata.context configuration createdBy createdDateTime";
    assert_eq!(names("").await, format!("{all} id isFetchable redirectedFrom redirectedTo status"));
    assert_eq!(
        names("?$expand=documents").await,
        format!("{all} documents id isFetchable redirectedFrom redirectedTo status")
    );
    for all in ["?unknown=1", "?$select=*"] {
        assert_eq!(names(all).await, names("").await);
    }
    for query in ["?$expand=tasks", "?$filter=id", "?$top=1"] {
        assert_eq!(ada.get(&format!("{path}{query}")).await.reason(), refused(400, "QUERY_NOT_SUPPORTED"), "{query}");
    }
}

#[tokio::test]
async fn a_job_needs_no_body_and_only_a_configuration_is_taken_from_one() {
    let app = App::start().await;
    let (ada, path) = (app.rest(&app.ada()), "/print/printers/p/jobs");
    assert_eq!(ada.post(path).await.status, 201);
    let annotated = json!({"@odata.type": "#microsoft.graph.printJob", "configuration": null});
    let created = ada.post_json(path, &annotated).await;
    assert_eq!((created.status, &created.json()["configuration"]), (201, &json!({})));
    for configuration in [json!([]), json!("fast"), json!(7)] {
        let refusal = ada.post_json(path, &json!({"configuration": configuration})).await.reason();
        assert_eq!(refusal, refused(400, "INVALID_FIELD"), "{configuration}");
    }
    let large = json!({"configuration": {"note": "x".repeat(17 * 1024)}});
    assert_eq!(ada.post_json(path, &large).await.reason(), refused(413, "CONFIGURATION_TOO_LARGE"));
    assert_eq!(ada.post("/print/printers/q/jobs").await.reason(), refused(404, "PRINTER_NOT_FOUND"));
    assert_eq!(app.rest(&app.robot()).post(path).await.reason(), refused(403, "PERMISSION_MISSING"));
}

#[tokio::test]
async fn a_repeated_request_returns_the_first_ones_job_and_every_answer_reports_the_result() {
    let app = App::start().await;
    let (ada, path) = (app.rest(&app.ada()), "/v1.0/print/printers/p/jobs");
    let id = ("Repeatability-Request-ID", "0f9d3a52-7a6d-4c59-9f0c-0a1b2c3d4e5f");
    let first_sent = ("Repeatability-First-Sent", "Sat, 28 Nov 2026 15:00:00 GMT");
    let post = async |headers: &[(&str, &str)], copies: u8| {
        let headers = [&[("content-type", "application/json"), ("client-request-id", "a")], headers].concat();
        let body = json!({"configuration": {"copies": copies}}).to_string();
        let answer = ada.send(Method::POST, path, &headers, body).await;
        let result = answer.header("repeatability-result").to_owned();
        (answer, result)
    };
    let accepted = |(answer, result): (Answer, String)| {
        assert_eq!((answer.status, &*result), (201, "accepted"), "{answer:?}");
        answer.json()
    };
    let rejected = |(answer, result): (Answer, String)| {
        assert_eq!(result, "rejected", "{answer:?}");
        answer.reason()
    };

    let job = accepted(post(&[id, first_sent], 2).await);
    assert_eq!(accepted(post(&[id, first_sent], 2).await), job);
    assert_eq!(accepted(post(&[id], 2).await), job, "the id is enough");
    let other = post(&[id, first_sent], 3).await;
    assert_eq!(other.0.json()["error"]["innerError"]["fields"], json!(["Repeatability-Request-ID"]));
    assert_eq!(rejected(other), refused(400, "REQUEST_ID_REUSED"));
    let malformed: [&[(&str, &str)]; 5] =
        [&[first_sent], &[(id.0, "")], &[(id.0, "two words")], &[(id.0, "ü")], &[id, (id.0, "another")]];
    for headers in malformed {
        assert_eq!(rejected(post(headers, 2).await), refused(400, "INVALID_FIELD"), "{headers:?}");
    }
    let nobody = app.anonymous_rest().send(Method::POST, path, &[id], "").await;
    assert_eq!((nobody.status, nobody.header("repeatability-result")), (401, "rejected"));

    let (unnamed, result) = post(&[], 2).await;
    assert_eq!((unnamed.status, &*result), (201, ""), "the client-request-id is no such id");
    assert_ne!(unnamed.json()["id"], job["id"]);
    let counted = sqlx::query_scalar::<_, i64>("select count(*) from print_job").fetch_one(app.pool()).await;
    assert_eq!(counted.expect("a count"), 2);
}

#[tokio::test]
async fn an_uploaded_document_is_downloaded_whole_or_in_part() {
    let app = App::start().await;
    let (ada, document, bytes) = (app.rest(&app.ada()), app.new_document().await, sample_bytes(3_000_000));
    let path = format!("/v1.0/print/{document}/$value");
    assert_eq!(ada.get(&path).await.reason(), refused(409, "DOCUMENT_NOT_UPLOADED"));
    let url = ada.begin(&document, bytes.len()).await;
    assert_eq!(ada.put(&url, &bytes, 1_000_000..3_000_000).await.status, 202);
    assert_eq!(ada.put(&url, &bytes, 0..1_000_000).await.status, 201);

    let whole = ada.get(&path).await;
    assert!(whole.status == 200 && whole.body == bytes);
    assert_eq!((whole.header("content-type"), whole.header("content-length")), ("application/pdf", "3000000"));
    assert_eq!(whole.header("content-disposition"), "attachment; filename=\"poster.pdf\"; filename*=UTF-8''poster.pdf");
    assert_eq!((whole.header("x-content-type-options"), whole.header("accept-ranges")), ("nosniff", "bytes"));

    let part = async |range: &str| ada.send(Method::GET, &path, &[("range", range)], "").await;
    let cases = [
        ("bytes=0-0", 0..1),
        ("bytes=999999-1000000", 999_999..1_000_001),
        ("bytes=2999990-", 2_999_990..3_000_000),
        ("bytes=-10", 2_999_990..3_000_000),
        ("bytes=500-99999999", 500..3_000_000),
    ];
    for (range, expected) in cases {
        let answer = part(range).await;
        let content_range = format!("bytes {}-{}/3000000", expected.start, expected.end - 1);
        assert_eq!((answer.status, answer.header("content-range")), (206, &*content_range), "{range}");
        assert!(answer.body == bytes.slice(expected), "{range}");
    }
    let beyond = part("bytes=3000000-").await;
    assert_eq!(
        (beyond.reason(), beyond.header("content-range")),
        (refused(416, "OFFSET_OUT_OF_RANGE"), "bytes */3000000")
    );
    assert_eq!(part("bytes=0-1,5-6").await.status, 200, "several ranges are answered with the whole");
    let changed = [("range", "bytes=0-9"), ("if-range", "\"another\"")];
    assert_eq!(ada.send(Method::GET, &path, &changed, "").await.status, 200);
    let same = [("range", "bytes=0-9"), ("if-range", whole.header("etag"))];
    assert_eq!(ada.send(Method::GET, &path, &same, "").await.status, 206);
    assert_eq!(app.rest(&app.mallory()).get(&path).await.status, 404);
}
