//! Calls over REST, to the gateway: Graph's paths with a token, and upload URLs without one.

use std::{ops::Range, str::FromStr};

use print_upload_client::{Reason, proto::DocumentProperties};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use url::Url;
use uuid::Uuid;

use super::{
    call::{Outcome, Progress, Seen, SentRange},
    content::{self, CELL_BYTES, DOCUMENT_BYTES},
    model::Micros,
    session::State,
};

/// One caller's calls to the gateway.
#[derive(Debug, Clone)]
pub struct Rest {
    pub http: reqwest::Client,
    /// `http://host:port`.
    pub gateway: String,
    pub token: String,
}

/// An answer: its status, and its JSON if it has a body.
struct Answer {
    status: StatusCode,
    body: Value,
}

impl Rest {
    pub async fn create(&self, document: &str, properties: &DocumentProperties) -> (Outcome, Option<String>) {
        let DocumentProperties { document_name, content_type, size_bytes } = properties;
        let properties = json!({"documentName": document_name, "contentType": content_type, "size": size_bytes});
        let request = self.graph(Method::POST, &format!("{document}/createUploadSession"));
        let request = request.header("content-type", "application/json");
        let request = request.body(json!({"properties": properties}).to_string());
        let Some(answer) = answer(request).await else { return (Outcome::Unknown, None) };
        let upload_url = answer.body["uploadUrl"].as_str().map(str::to_owned);
        let id = upload_url.as_deref().and_then(session_of);
        (answer.session(id), upload_url)
    }

    pub async fn get_by_document(&self, document: &str) -> Outcome {
        let request = self.graph(Method::GET, &format!("{document}/uploadSession"));
        let Some(answer) = answer(request).await else { return Outcome::Unknown };
        answer.session(answer.body["id"].as_str().and_then(|id| Uuid::try_parse(id).ok()))
    }

    pub async fn get_by_url(&self, upload_url: &str) -> Outcome {
        let Some(answer) = answer(self.http.get(upload_url)).await else { return Outcome::Unknown };
        answer.session(session_of(upload_url))
    }

    pub async fn send(&self, upload_url: &str, range: SentRange) -> Outcome {
        let (start, end) = (range.cells.start * CELL_BYTES, range.cells.end * CELL_BYTES);
        let content_range = format!("bytes {start}-{}/{DOCUMENT_BYTES}", end - 1);
        let request = self.http.put(upload_url).header("content-range", content_range).body(range.bytes);
        let Some(answer) = answer(request).await else { return Outcome::Unknown };
        match answer.status {
            StatusCode::CREATED => Outcome::Progress(Seen::ended(None, State::Completed).progress),
            StatusCode::ACCEPTED => answer.progress().map_or(Outcome::Refused(Reason::Unspecified), Outcome::Progress),
            _ => answer.failure(),
        }
    }

    pub async fn delete_by_document(&self, document: &str) -> Outcome {
        done(self.graph(Method::DELETE, &format!("{document}/uploadSession"))).await
    }

    pub async fn delete_by_url(&self, upload_url: &str) -> Outcome {
        done(self.http.delete(upload_url)).await
    }

    pub async fn cancel_job(&self, job: &str) -> Outcome {
        done(self.graph(Method::POST, &format!("{job}/cancel"))).await
    }

    pub async fn download(&self, document: &str) -> Outcome {
        let Ok(response) = self.graph(Method::GET, &format!("{document}/$value")).send().await else {
            return Outcome::Unknown;
        };
        let status = response.status();
        let Ok(bytes) = response.bytes().await else { return Outcome::Unknown };
        if status == StatusCode::OK {
            return Outcome::Content(content::contents_in(&bytes));
        }
        Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default() }.failure()
    }

    fn graph(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/v1.0/print/{path}", self.gateway)).bearer_auth(&self.token)
    }
}

/// `None` if the connection broke before the whole answer had come.
async fn answer(request: RequestBuilder) -> Option<Answer> {
    let response = request.send().await.ok()?;
    let status = response.status();
    let bytes = response.bytes().await.ok()?;
    Some(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default() })
}

async fn done(request: RequestBuilder) -> Outcome {
    match answer(request).await {
        None => Outcome::Unknown,
        Some(answer) if answer.status == StatusCode::NO_CONTENT => Outcome::Done,
        Some(answer) => answer.failure(),
    }
}

impl Answer {
    fn session(&self, id: Option<Uuid>) -> Outcome {
        if self.status != StatusCode::OK {
            return self.failure();
        }
        let progress = self.progress();
        progress.map_or(Outcome::Refused(Reason::Unspecified), |progress| {
            Outcome::Session(Seen { id, state: State::Active, progress })
        })
    }

    fn progress(&self) -> Option<Progress> {
        let expiry = OffsetDateTime::parse(self.body["expirationDateTime"].as_str()?, &Rfc3339).ok()?;
        let expiry = Micros::try_from(expiry.unix_timestamp_nanos() / 1000).ok()?;
        let ranges = self.body["nextExpectedRanges"].as_array()?;
        let ranges = ranges.iter().map(|range| byte_range(range.as_str()?)).collect::<Option<Vec<_>>>()?;
        Some(Progress { is_completed: false, missing: content::missing_cells(ranges)?, expiry })
    }

    fn failure(&self) -> Outcome {
        let reason = self.body["error"]["innerError"]["reason"].as_str();
        reason.map_or(Outcome::Unknown, |reason| Outcome::refused(Reason::from_wire(reason)))
    }
}

/// `0-511`: both bytes are included.
fn byte_range(text: &str) -> Option<Range<usize>> {
    let (start, last) = text.split_once('-')?;
    Some(usize::from_str(start).ok()?..usize::from_str(last).ok()? + 1)
}

fn session_of(upload_url: &str) -> Option<Uuid> {
    let url = Url::parse(upload_url).ok()?;
    Uuid::try_parse(url.path_segments()?.next_back()?).ok()
}
