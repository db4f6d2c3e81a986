//! Graph paths, and the resource names of the service that they correspond to.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use serde::Deserialize;

use super::error::Error;

/// `/print/{queues}/{queue}/jobs/{job}/documents/{document}`, or the first part of it.
pub struct GraphPath {
    /// The version of Graph that the client uses: `v1.0` or `beta`.
    pub version: &'static str,
    segments: Segments,
}

#[derive(Deserialize)]
struct Segments {
    queues: String,
    queue: String,
    job: Option<String>,
    document: Option<String>,
}

impl GraphPath {
    /// `printers/{printer}` or `shares/{share}`.
    pub fn queue(&self) -> String {
        format!("{}/{}", self.segments.queues, self.segments.queue)
    }

    /// `{queue}/jobs/{job}`.
    pub fn job(&self) -> String {
        format!("{}/jobs/{}", self.queue(), self.segments.job.as_deref().unwrap_or_default())
    }

    /// `{job}/documents/{document}`.
    pub fn document(&self) -> String {
        format!("{}/documents/{}", self.job(), self.segments.document.as_deref().unwrap_or_default())
    }

    /// `{document}/uploadSession`.
    pub fn upload_session(&self) -> String {
        format!("{}/uploadSession", self.document())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for GraphPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let version = if parts.uri.path().starts_with("/beta/") { "beta" } else { "v1.0" };
        let segments: Path<Segments> =
            Path::from_request_parts(parts, state).await.map_err(|_| Error::no_such_path())?;
        if !matches!(segments.queues.as_str(), "printers" | "shares") {
            return Err(Error::no_such_path());
        }
        Ok(Self { version, segments: segments.0 })
    }
}
