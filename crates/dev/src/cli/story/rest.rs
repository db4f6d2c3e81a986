//! The story's calls over REST: plain HTTP, as any client of Microsoft Graph.

use std::{ops::Range, time::Duration};

use anyhow::{Context, ensure};
use bytes::Bytes;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use url::Url;

use super::{
    api::{Api, Caller, Expected, Refusal, Session},
    document::{SIZE, bytes, properties},
};

/// How long a response may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The gateway's address, and an HTTP client.
pub(in crate::cli) struct Rest {
    base: Url,
    http: reqwest::Client,
}

impl Rest {
    pub(in crate::cli) fn new(base: &str) -> anyhow::Result<Self> {
        let base = Url::parse(base).context("--rest-url")?;
        Ok(Self { base, http: reqwest::Client::builder().timeout(RESPONSE_TIMEOUT).no_proxy().build()? })
    }

    /// A request to a document's own paths.
    fn graph(&self, method: Method, path: &str, caller: &Caller) -> anyhow::Result<RequestBuilder> {
        let request = self.http.request(method, self.base.join(&format!("/v1.0/print/{path}"))?);
        Ok(match &caller.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// A request to an upload URL, at the given address of the gateway: the URL's own host may be unreachable from
    /// here.
    fn upload(&self, method: Method, upload_url: &str) -> anyhow::Result<RequestBuilder> {
        let mut url = Url::parse(upload_url).context("the upload URL")?;
        ensure!(url.set_scheme(self.base.scheme()).is_ok(), "--rest-url must be http or https");
        url.set_host(self.base.host_str()).context("--rest-url")?;
        ensure!(url.set_port(self.base.port()).is_ok(), "--rest-url must have a host");
        Ok(self.http.request(method, url))
    }
}

impl Api for Rest {
    const NAME: &'static str = "REST";

    fn code(expected: &Expected) -> &'static str {
        expected.rest
    }

    async fn create(&self, caller: &Caller, document: &str) -> anyhow::Result<Session> {
        let properties = properties();
        let (name, content_type) = (properties.document_name, properties.content_type);
        let body =
            json!({"properties": {"documentName": name, "contentType": content_type, "size": properties.size_bytes}});
        let request = self.graph(Method::POST, &format!("{document}/createUploadSession"), caller)?;
        let request = request.header("content-type", "application/json").body(body.to_string());
        to_session(&call(request, &[200]).await?.1)
    }

    async fn send(&self, _: &Caller, session: &Session, range: Range<usize>) -> anyhow::Result<bool> {
        let content_range = format!("bytes {}-{}/{SIZE}", range.start, range.end - 1);
        let request = self.upload(Method::PUT, &session.handle)?.header("content-range", content_range);
        let (status, _) = call(request.body(bytes(range)), &[201, 202]).await?;
        Ok(status == 201)
    }

    async fn get(&self, caller: &Caller, document: &str) -> anyhow::Result<Session> {
        let request = self.graph(Method::GET, &format!("{document}/uploadSession"), caller)?;
        to_session(&call(request, &[200]).await?.1)
    }

    async fn delete(&self, caller: &Caller, document: &str) -> anyhow::Result<()> {
        let request = self.graph(Method::DELETE, &format!("{document}/uploadSession"), caller)?;
        call(request, &[204]).await.map(drop)
    }

    async fn download(&self, caller: &Caller, document: &str) -> anyhow::Result<Bytes> {
        let request = self.graph(Method::GET, &format!("{document}/$value"), caller)?;
        Ok(call(request, &[200]).await?.1)
    }
}

/// Sends a request. Returns the status and the body. Any status but the expected ones is a refusal.
async fn call(request: RequestBuilder, expected: &[u16]) -> anyhow::Result<(u16, Bytes)> {
    // An upload URL is a secret, which an error would print.
    let response = request.send().await.map_err(reqwest::Error::without_url)?;
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(reqwest::Error::without_url)?;
    if expected.contains(&status) {
        return Ok((status, body));
    }
    let error: Value = serde_json::from_slice(&body).with_context(|| format!("status {status}, without JSON"))?;
    let reason = error["error"]["innerError"]["reason"].as_str().unwrap_or_default().to_owned();
    Err(Refusal { code: status.to_string(), reason }.into())
}

fn to_session(body: &[u8]) -> anyhow::Result<Session> {
    let session: Value = serde_json::from_slice(body).context("the session is not JSON")?;
    let handle = session["uploadUrl"].as_str().context("no uploadUrl")?.to_owned();
    let path = Url::parse(&handle)?.path().to_owned();
    let id = path.rsplit('/').next().unwrap_or_default().to_owned();
    let missing = session["nextExpectedRanges"].as_array().context("no nextExpectedRanges")?;
    let missing: Option<_> = missing.iter().map(|range| parse_range(range.as_str()?)).collect();
    Ok(Session { id, handle, missing: missing.context("nextExpectedRanges cannot be parsed")?, is_canceled: false })
}

/// `first-last`, both included.
fn parse_range(text: &str) -> Option<Range<usize>> {
    let (first, last) = text.split_once('-')?;
    Some(first.parse().ok()?..last.parse::<usize>().ok()? + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_does_not_contain_the_upload_url() {
        let rest = Rest::new("http://127.0.0.1:1").expect("an address");
        let upload = rest.upload(Method::PUT, "http://elsewhere/uploadSessions/x?tempauthtoken=secret");
        let error = call(upload.expect("a request"), &[202]).await.expect_err("nothing listens there");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}
