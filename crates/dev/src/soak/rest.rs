//! Calls over REST: Graph's paths with a token, and upload URLs without one.

use std::{net::SocketAddr, ops::Range};

use anyhow::Context;
use bytes::Bytes;
use print_upload_client::{Reason, proto::upload_session::State};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};
use url::Url;

use super::{
    api::{Api, CONTENT_TYPE, DOCUMENT_NAME, Failed, Job, Session},
    grpc::STALL,
};

/// One caller's calls to one replica.
pub struct Rest {
    http: reqwest::Client,
    address: SocketAddr,
    token: Option<String>,
}

impl Rest {
    pub fn new(http: &reqwest::Client, address: SocketAddr, token: Option<&str>) -> Self {
        Self { http: http.clone(), address, token: token.map(str::to_owned) }
    }

    fn graph(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("http://{}/v1.0/print/{path}", self.address));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn json(&self, request: RequestBuilder, statuses: &[u16]) -> Result<Value, Failed> {
        let (_, body) = call(request, statuses).await?;
        serde_json::from_slice(&body).map_err(|error| wrong(&format!("no JSON: {error}")))
    }
}

impl Api for Rest {
    const NAME: &'static str = "REST";

    fn with_token(&self, token: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self::new(&self.http, self.address, token))
    }

    async fn create_job(&self, printer: &str, request_id: &str) -> Result<Job, Failed> {
        let queue = format!("printers/{printer}");
        let request = self.graph(Method::POST, &format!("{queue}/jobs"));
        let job = self.json(request.header("repeatability-request-id", request_id), &[200, 201]).await?;
        let ids = job["id"].as_str().zip(job["documents"][0]["id"].as_str());
        let (id, document) = ids.ok_or_else(|| wrong("a job without ids"))?;
        let name = format!("{queue}/jobs/{id}");
        Ok(Job { document: format!("{name}/documents/{document}"), name })
    }

    async fn start_job(&self, job: &str) -> Result<(), Failed> {
        call(self.graph(Method::POST, &format!("{job}/start")), &[200]).await.map(drop)
    }

    async fn cancel_job(&self, job: &str) -> Result<(), Failed> {
        call(self.graph(Method::POST, &format!("{job}/cancel")), &[204]).await.map(drop)
    }

    async fn create(&self, document: &str, size: usize) -> Result<Session, Failed> {
        let body = json!({"properties": {"documentName": DOCUMENT_NAME, "contentType": CONTENT_TYPE, "size": size}});
        let request = self.graph(Method::POST, &format!("{document}/createUploadSession"));
        let request = request.header("content-type", "application/json").body(body.to_string());
        session(&self.json(request, &[200]).await?, size).map_err(|error| wrong(&format!("{error:#}")))
    }

    async fn send(&self, session: &Session, range: Range<usize>, bytes: Bytes) -> Result<bool, Failed> {
        let url = format!("http://{}{}", self.address, path_and_query(&session.handle)?);
        let request = self.http.put(url).header("content-range", content_range(session, &range)).body(bytes);
        Ok(call(request, &[201, 202]).await?.0 == 201)
    }

    async fn hang_up(&self, session: &Session, range: Range<usize>, half: Bytes) -> Result<(), Failed> {
        let head = format!(
            "PUT {} HTTP/1.1\r\nHost: {}\r\nContent-Range: {}\r\nContent-Length: {}\r\n\r\n",
            path_and_query(&session.handle)?,
            self.address,
            content_range(session, &range),
            range.len()
        );
        let send = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&half).await?;
            sleep(STALL).await;
            std::io::Result::Ok(())
        };
        send.await.map_err(|error| Failed::Broken(error.to_string()))
    }

    async fn get(&self, document: &str) -> Result<Session, Failed> {
        let shape = self.json(self.graph(Method::GET, &format!("{document}/uploadSession")), &[200]).await?;
        let size = shape["size"].as_u64().unwrap_or_default() as usize;
        session(&shape, size).map_err(|error| wrong(&format!("{error:#}")))
    }

    async fn delete(&self, document: &str) -> Result<(), Failed> {
        call(self.graph(Method::DELETE, &format!("{document}/uploadSession")), &[204]).await.map(drop)
    }

    async fn download(&self, document: &str) -> Result<Vec<u8>, Failed> {
        Ok(call(self.graph(Method::GET, &format!("{document}/$value")), &[200]).await?.1.into())
    }
}

/// An answer that makes no sense.
fn wrong(what: &str) -> Failed {
    Failed::Refused { reason: Reason::Unspecified, code: format!("a wrong answer: {what}") }
}

/// Sends a request. Returns the status and the body. Any status but the expected ones is a refusal.
async fn call(request: RequestBuilder, expected: &[u16]) -> Result<(u16, Bytes), Failed> {
    // An upload URL is a secret, which an error would print.
    let broken = |error: reqwest::Error| Failed::Broken(format!("{:?}", error.without_url()));
    let response = request.send().await.map_err(broken)?;
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(broken)?;
    if expected.contains(&status) {
        return Ok((status, body));
    }
    let error: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reason = error["error"]["innerError"]["reason"].as_str().unwrap_or_default();
    Err(Failed::refused(Reason::from_wire(reason), status.to_string()))
}

fn content_range(session: &Session, range: &Range<usize>) -> String {
    format!("bytes {}-{}/{}", range.start, range.end - 1, session.total)
}

/// The part of an upload URL that is the same on every replica.
fn path_and_query(upload_url: &str) -> Result<String, Failed> {
    let url = Url::parse(upload_url).map_err(|_| wrong("no upload URL"))?;
    Ok(format!("{}?{}", url.path(), url.query().unwrap_or_default()))
}

fn session(shape: &Value, total: usize) -> anyhow::Result<Session> {
    let handle = shape["uploadUrl"].as_str().context("no uploadUrl")?.to_owned();
    let id = Url::parse(&handle)?.path().rsplit('/').next().unwrap_or_default().to_owned();
    let missing = shape["nextExpectedRanges"].as_array().context("no nextExpectedRanges")?;
    let missing: Option<_> = missing.iter().map(|range| parse_range(range.as_str()?)).collect();
    let missing = missing.context("nextExpectedRanges cannot be parsed")?;
    // REST has no ended sessions.
    Ok(Session { id, handle, state: State::Active, missing, total })
}

/// `first-last`, both included.
fn parse_range(text: &str) -> Option<Range<usize>> {
    let (first, last) = text.split_once('-')?;
    Some(first.parse().ok()?..last.parse::<usize>().ok()? + 1)
}
