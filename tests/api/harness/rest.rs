//! A caller over REST: a plain HTTP/1.1 client with the verbs of the domain.

use std::{net::SocketAddr, ops::Range};

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use serde_json::{Value, json};

/// A caller over REST, with a bearer token or without.
#[derive(Debug, Clone)]
pub struct RestActor {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// An answer of the gateway.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl RestActor {
    pub fn new(address: SocketAddr, token: Option<&str>) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self::over(http, &format!("http://{address}"), token)
    }

    /// A caller with any HTTP client and any base URL.
    pub fn over(http: reqwest::Client, base: &str, token: Option<&str>) -> Self {
        Self { http, base: base.into(), token: token.map(str::to_owned) }
    }

    /// Sends any request. `path` may be an upload URL; its host is replaced by this gateway.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let path = path.split_once("://").map_or(path, |(_, rest)| &rest[rest.find('/').unwrap_or(rest.len())..]);
        let mut request = self.http.request(method, format!("{}{path}", self.base)).body(body.into());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if headers.contains_key("request-id") {
            assert_eq!(headers.get("cache-control").expect("from the gateway"), "no-store");
        }
        Answer { status, headers, body: response.bytes().await.expect("a body") }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], "").await
    }

    /// Posts without a body.
    pub async fn post(&self, path: &str) -> Answer {
        self.send(Method::POST, path, &[], "").await
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Creates the upload session of a document.
    pub async fn create(&self, document: &str, size: usize) -> Answer {
        let properties = json!({"documentName": "poster.pdf", "contentType": "application/pdf", "size": size});
        let path = format!("/v1.0/print/{document}/createUploadSession");
        self.post_json(&path, &json!({"properties": properties})).await
    }

    /// Creates a session and returns its upload URL.
    pub async fn begin(&self, document: &str, size: usize) -> String {
        let created = self.create(document, size).await;
        assert_eq!(created.status, 200, "{created:?}");
        created.json()["uploadUrl"].as_str().expect("an upload URL").to_owned()
    }

    /// Puts a range of a document. `document` is all of its bytes.
    pub async fn put(&self, upload_url: &str, document: &Bytes, range: Range<usize>) -> Answer {
        let content_range = format!("bytes {}-{}/{}", range.start, range.end - 1, document.len());
        self.send(Method::PUT, upload_url, &[("content-range", &content_range)], document.slice(range)).await
    }

    /// Cancels by the document's path: `DELETE …/uploadSession`.
    pub async fn cancel(&self, document: &str) -> Answer {
        self.delete(&format!("/print/{document}/uploadSession")).await
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header's value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The status with the code and the reason of an error.
    pub fn refusal(&self) -> (u16, String, String) {
        let error = &self.json()["error"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        assert!(!text(&error["message"]).is_empty(), "{self:?}");
        assert_eq!(text(&error["innerError"]["request-id"]), self.header("request-id"), "{self:?}");
        (self.status, text(&error["code"]), text(&error["innerError"]["reason"]))
    }

    /// The status with the reason of an error.
    pub fn reason(&self) -> (u16, String) {
        let (status, _, reason) = self.refusal();
        (status, reason)
    }

    pub fn missing(&self) -> Vec<String> {
        let ranges = self.json()["nextExpectedRanges"].clone();
        serde_json::from_value(ranges).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// An expected status and reason.
pub fn refused(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}
