//! The REST door: plain HTTP, as any client of Microsoft Graph.

use std::{ops::Range, time::Duration};

use anyhow::{Context, ensure};
use bytes::Bytes;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use url::Url;

use super::door::{Answer, Door, Refusal, Session};
use crate::cli::sample_document::{SIZE, bytes, properties};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The door's address, and a client.
pub(super) struct Rest {
    base: Url,
    http: reqwest::Client,
}

struct Answered {
    status: u16,
    body: Bytes,
}

impl Rest {
    pub(super) fn new(base: &str) -> anyhow::Result<Self> {
        let base = Url::parse(base).context("--rest-url")?;
        Ok(Self { base, http: reqwest::Client::builder().timeout(ANSWER_TIMEOUT).no_proxy().build()? })
    }

    /// A request to a document's own paths.
    fn graph(&self, method: Method, path: &str, token: &str) -> anyhow::Result<RequestBuilder> {
        let request = self.http.request(method, self.base.join(&format!("/v1.0/print/{path}"))?);
        Ok(if token.is_empty() { request } else { request.bearer_auth(token) })
    }

    /// A request to an upload URL: seen from here, its host may be another one.
    fn upload(&self, method: Method, upload_url: &str) -> anyhow::Result<RequestBuilder> {
        let mut url = Url::parse(upload_url).context("the upload URL")?;
        ensure!(url.set_scheme(self.base.scheme()).is_ok(), "--rest-url must be http or https");
        url.set_host(self.base.host_str()).context("--rest-url")?;
        ensure!(url.set_port(self.base.port()).is_ok(), "--rest-url must have a host");
        Ok(self.http.request(method, url))
    }
}

impl Door for Rest {
    const NAME: &'static str = "REST";
    const CONFLICT: &'static str = "409";
    const FORBIDDEN: &'static str = "403";
    const NOT_FOUND: &'static str = "404";
    const UNAUTHENTICATED: &'static str = "401";
    const TOO_LATE: &'static str = "404";

    async fn create(&self, token: &str, document: &str) -> Answer<Session> {
        let said = properties();
        let (name, content_type) = (said.document_name, said.content_type);
        let body = json!({"properties": {"documentName": name, "contentType": content_type, "size": said.size_bytes}});
        let request = self.graph(Method::POST, &format!("{document}/createUploadSession"), token)?;
        let request = request.header("content-type", "application/json").body(body.to_string());
        let created = match expect(request, &[200]).await? {
            Ok(created) => created,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let handle = created.json()?["uploadUrl"].as_str().context("no uploadUrl")?.to_owned();
        let path = Url::parse(&handle)?.path().to_owned();
        let id = path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Ok(Session { id, handle }))
    }

    async fn send(&self, _: &str, session: &Session, range: Range<usize>) -> Answer<bool> {
        let content_range = format!("bytes {}-{}/{SIZE}", range.start, range.end - 1);
        let request = self.upload(Method::PUT, &session.handle)?.header("content-range", content_range);
        let sent = expect(request.body(bytes(range)), &[201, 202]).await?;
        Ok(sent.map(|sent| sent.status == 201))
    }

    async fn missing(&self, token: &str, document: &str) -> Answer<Vec<Range<usize>>> {
        let session =
            match expect(self.graph(Method::GET, &format!("{document}/uploadSession"), token)?, &[200]).await? {
                Ok(session) => session.json()?,
                Err(refusal) => return Ok(Err(refusal)),
            };
        let ranges = session["nextExpectedRanges"].as_array().context("no nextExpectedRanges")?;
        let ranges: Option<Vec<_>> = ranges.iter().map(|range| parse_range(range.as_str()?)).collect();
        Ok(Ok(ranges.context("odd nextExpectedRanges")?))
    }

    async fn delete(&self, token: &str, document: &str) -> Answer<()> {
        let request = self.graph(Method::DELETE, &format!("{document}/uploadSession"), token)?;
        Ok(expect(request, &[204]).await?.map(|_| ()))
    }

    async fn download(&self, token: &str, document: &str) -> Answer<Bytes> {
        let request = self.graph(Method::GET, &format!("{document}/$value"), token)?;
        Ok(expect(request, &[200]).await?.map(|downloaded| downloaded.body))
    }
}

impl Answered {
    fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).context("the answer is no JSON")
    }
}

/// Sends a request. Any status but the expected ones is a refusal, which must say why.
async fn expect(request: RequestBuilder, expected: &[u16]) -> Answer<Answered> {
    // An upload URL is a secret, and an error would tell it.
    let response = request.send().await.map_err(reqwest::Error::without_url)?;
    let status = response.status().as_u16();
    let answered = Answered { status, body: response.bytes().await.map_err(reqwest::Error::without_url)? };
    if expected.contains(&answered.status) {
        return Ok(Ok(answered));
    }
    let error = answered.json().with_context(|| format!("status {}", answered.status))?;
    let reason = error["error"]["innerError"]["reason"].as_str().unwrap_or_default().to_owned();
    Ok(Err(Refusal { code: answered.status.to_string(), reason }))
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
    async fn a_door_that_does_not_answer_is_told_without_the_upload_url() {
        let rest = Rest::new("http://127.0.0.1:1").expect("a door");
        let upload = rest.upload(Method::PUT, "http://elsewhere/uploadSessions/x?tempauthtoken=secret");
        let Err(error) = expect(upload.expect("a request"), &[202]).await else { panic!("nobody is there") };
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}
