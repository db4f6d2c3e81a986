//! The page of `print-upload-dev up`: who may see it, and who gets its tokens. `tests/page/` uses it in a browser.

use axum::http::Method;
use serde_json::json;

use super::stack::{Dev, data_dir};
use crate::harness::{App, RestActor, eventually};

const TOKENS: &str = "/dev/tokens.json";

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let folder = data_dir();
    let dev = Dev::start(&folder).await;
    let anyone = RestActor::over(reqwest::Client::new(), &dev.variables["REST_URL"], None);
    let page = anyone.get("/").await;
    let html = String::from_utf8(page.body.to_vec()).expect("text");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert!(!html.contains("://") && !html.contains(" style=") && !html.contains("<style"), "{html}");
    assert_eq!(html.matches("<script").count(), html.matches("<script type=\"module\" src=\"/page/").count());

    let files: Vec<&str> = html.split('"').filter(|text| text.starts_with("/page/")).collect();
    assert_eq!(files.len(), 3);
    for file in files {
        let answer = anyone.get(file).await;
        assert_eq!((answer.status, answer.header("x-content-type-options")), (200, "nosniff"), "{file}");
    }
    // The gateway serves everything else, as without the page.
    assert_eq!(anyone.get("/page").await.refusal(), (404, "itemNotFound".into(), "PATH_UNKNOWN".into()));
    assert_eq!(anyone.get("/openapi.json").await.status, 200);
    dev.stop().await;
}

#[tokio::test]
async fn only_the_page_itself_gets_tokens() {
    let folder = data_dir();
    let dev = Dev::start(&folder).await;
    let url = &dev.variables["REST_URL"];
    let anyone = RestActor::over(reqwest::Client::new(), url, None);
    let own = url.trim_start_matches("http://");
    let by_name = own.replace("127.0.0.1", "localhost");
    let other_port = "127.0.0.1:1";
    let from = |host: &str| format!("http://{host}");
    let tls = format!("https://{own}");

    // Host, Origin, Sec-Fetch-Site, and whether these are the page's own.
    let cases = [
        (own, "", "same-origin", true),
        (&by_name, "", "same-origin", true),
        (own, &from(own), "same-origin", true),
        (own, "", "", false),
        (own, &from(own), "", false),
        (own, "", "none", false),
        (own, "", "same-site", false),
        (own, "", "cross-site", false),
        (own, &from("evil.example"), "same-origin", false),
        (own, &from(&by_name), "same-origin", false),
        (own, &from(other_port), "same-origin", false),
        (own, &tls, "same-origin", false),
        (own, "null", "same-origin", false),
        ("evil.example", "", "same-origin", false),
        (&format!("evil.example:{}", own.split_once(':').expect("a port").1), "", "same-origin", false),
        (&format!("{by_name}.evil.example"), "", "same-origin", false),
        (&format!("evil@{own}"), "", "same-origin", false),
        ("127.0.0.1", "", "same-origin", false),
        (other_port, &from(other_port), "same-origin", false),
        ("", "", "same-origin", false),
    ];
    for (host, origin, site, is_own) in cases {
        let mut headers = vec![("host", host)];
        headers.extend(Some(("origin", origin)).filter(|(_, value)| !value.is_empty()));
        headers.extend(Some(("sec-fetch-site", site)).filter(|(_, value)| !value.is_empty()));
        let answer = anyone.send(Method::GET, TOKENS, &headers, "").await;
        assert_eq!(answer.status, if is_own { 200 } else { 403 }, "{headers:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("access-control-allow-origin"), "");
        let says_a_token = String::from_utf8_lossy(&answer.body).contains("eyJ");
        assert_eq!(says_a_token, is_own, "{headers:?}");
    }
    let foreign = [("host", "evil.example")];
    assert_eq!(anyone.send(Method::GET, "/", &foreign, "").await.status, 403, "nor does the page itself load there");
    dev.stop().await;
}

#[tokio::test]
async fn its_tokens_and_the_list_of_stored_files_work() {
    let folder = data_dir();
    let dev = Dev::start_with(&folder, &["--tls"]).await;
    let ca = std::fs::read(&dev.variables["CA_CERT"]).expect("the authority");
    let ca = reqwest::Certificate::from_pem(&ca).expect("a certificate");
    let http = reqwest::Client::builder().tls_certs_only([ca]).build().expect("a client");
    let url = &dev.variables["REST_URL"];
    let page = RestActor::over(http.clone(), url, None);
    let same_origin = [("sec-fetch-site", "same-origin")];
    let tokens = page.send(Method::GET, TOKENS, &same_origin, "").await.json();
    let actor = |user: &str| RestActor::over(http.clone(), url, Some(tokens[user].as_str().expect("a token")));

    let upload_url = actor("owner").begin(dev.document(), 10).await;
    let session = upload_url.split('?').next().and_then(|path| path.rsplit('/').next()).expect("an id");
    let path = format!("/dev/store/{session}");
    let stored = async || page.send(Method::GET, &path, &same_origin, "").await.json()["files"].take();
    assert_eq!(stored().await, json!([]));
    let slice = [("content-range", "bytes 0-4/10"), ("x-bytes-per-second", "1000000")];
    assert_eq!(page.send(Method::PUT, &upload_url, &slice, "hello").await.status, 202);
    assert_eq!(stored().await[0]["size"], 5);
    assert_eq!(actor("other").cancel(dev.document()).await.refusal().2, "NOT_SESSION_OWNER");
    assert_eq!(actor("owner").cancel(dev.document()).await.status, 204);
    eventually("the store holds nothing", async || stored().await == json!([])).await;

    assert_eq!(page.get(&path).await.status, 403, "the list is for the page as well");
    assert_eq!(page.send(Method::GET, "/dev/store/..%2F..", &same_origin, "").await.status, 400);
    dev.stop().await;
}

#[tokio::test]
async fn the_program_that_ships_has_no_page() {
    let app = App::start().await;
    let page = app.anonymous_rest();
    let same_origin = [("sec-fetch-site", "same-origin")];
    for path in ["/", "/page/bundle.js", TOKENS, "/dev/store/5f1d2c6e-8a0b-4c3d-9e4f-1a2b3c4d5e6f"] {
        let answer = page.send(Method::GET, path, &same_origin, "").await;
        assert_eq!(answer.refusal(), (404, "itemNotFound".into(), "PATH_UNKNOWN".into()), "{path}");
    }
}
