//! Pages in browsers that call the gateway of another origin (CORS).

use axum::http::Method;

use crate::harness::{Answer, App, Program, RestActor, sample_bytes};

const PAGE: &str = "https://app.example";

async fn preflight(caller: &RestActor, path: &str, method: &str, origin: &str) -> Answer {
    let wanted = "authorization,client-request-id,content-range,content-type,sdkversion,x-of-tomorrow";
    let headers =
        [("origin", origin), ("access-control-request-method", method), ("access-control-request-headers", wanted)];
    caller.send(Method::OPTIONS, path, &headers, "").await
}

#[tokio::test]
async fn no_page_may_call_by_default() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let path = format!("/v1.0/print/{document}/uploadSession");
    let refused = preflight(&app.anonymous_rest(), &path, "DELETE", PAGE).await;
    let answered = ada.send(Method::GET, &path, &[("origin", PAGE)], "").await;
    for answer in [refused, answered] {
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{answer:?}");
    }
}

#[tokio::test]
async fn a_page_of_a_configured_origin_may_call_every_path() {
    let app = App::with([("cors-origin", "https://other.example,https://App.example:443/")]).await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let url = ada.begin(&document, 10).await;
    let calls = [
        (format!("/v1.0/print/{document}/uploadSession"), "DELETE"),
        (format!("/print/{document}/createUploadSession"), "POST"),
        (format!("/beta/print/{document}/%24value"), "GET"),
        (url, "PUT"),
    ];
    for (path, method) in calls {
        let answer = preflight(&app.anonymous_rest(), &path, method, PAGE).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, PAGE), "{path}");
        let methods: Vec<_> = answer.header("access-control-allow-methods").split(',').collect();
        assert!(methods.contains(&method), "{methods:?}");
        for header in ["authorization", "client-request-id", "content-range", "sdkversion", "x-of-tomorrow"] {
            assert!(answer.header("access-control-allow-headers").contains(header), "{answer:?}");
        }
        assert_eq!(answer.header("access-control-allow-credentials"), "", "no cookie is a credential");
        assert!(!answer.header("request-id").is_empty());
        let elsewhere = preflight(&app.anonymous_rest(), &path, method, "https://evil.example").await;
        assert_eq!(elsewhere.header("access-control-allow-origin"), "", "{elsewhere:?}");
        assert!(elsewhere.header("vary").contains("origin"), "{elsewhere:?}");
    }
}

#[tokio::test]
async fn a_page_can_read_answers_and_errors_with_their_headers() {
    let app = App::with([("cors-origin", PAGE)]).await;
    let (ada, document, bytes) = (app.rest(&app.ada()), app.new_document().await, sample_bytes(10));
    let url = ada.begin(&document, 10).await;
    let (origin, range) = (("origin", PAGE), ("content-range", "bytes 0-9/10"));
    let session = format!("/print/{document}/uploadSession");
    let anyone = app.anonymous_rest();
    let answers = [
        (200, ada.send(Method::GET, &session, &[origin], "").await),
        (401, anyone.send(Method::GET, &session, &[origin], "").await),
        (404, anyone.send(Method::GET, "/nothing", &[origin], "").await),
        (405, anyone.send(Method::PATCH, &session, &[origin], "").await),
        (415, anyone.send(Method::PUT, &url, &[origin, range, ("content-encoding", "br")], bytes.clone()).await),
        (201, anyone.send(Method::PUT, &url, &[origin, range], bytes.clone()).await),
        (200, ada.send(Method::GET, &format!("/print/{document}/$value"), &[origin], "").await),
    ];
    for (status, answer) in answers {
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, PAGE), "{answer:?}");
        let exposed: Vec<_> = answer.header("access-control-expose-headers").split(',').collect();
        for header in ["request-id", "retry-after", "location", "etag", "repeatability-result", "upload-limit"] {
            assert!(exposed.contains(&header), "{exposed:?}");
        }
    }
}

#[tokio::test]
async fn a_gateway_of_its_own_has_the_option_too_and_every_origin_is_refused_that_is_none() {
    let app = App::start().await;
    let (_gateway, address) = Program::gateway(&[app.address], &["--cors-origin", PAGE]).await;
    let answer = preflight(&RestActor::new(address, None), "/uploadSessions/x", "PUT", PAGE).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, PAGE));
    let (status, output) =
        Program::run(&["gateway", "--upstream=http://127.0.0.1:1", "--cors-origin=https://a.example,*"]).await;
    assert!(status.code() == Some(2) && output.contains("http(s)://host[:port]"), "{output}");
}
