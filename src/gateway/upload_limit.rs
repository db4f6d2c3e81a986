//! `Upload-Limit`, as in the draft "Resumable Uploads for HTTP": what an active upload still accepts.

use std::time::SystemTime;

use axum::http::HeaderName;
use prost_types::Timestamp;

use crate::proto::{UploadLimits, UploadSession};

/// The name of the header.
pub const UPLOAD_LIMIT: HeaderName = HeaderName::from_static("upload-limit");

/// The header of an active session.
pub fn limit_of(session: &UploadSession) -> Option<[(HeaderName, String); 1]> {
    let size_bytes = session.properties.as_ref()?.size_bytes;
    upload_limit(session.limits.as_ref(), size_bytes, session.expire_time.as_ref())
}

/// The header of an upload of a document of this size. An older service does not report its limits: then there is none.
pub fn upload_limit(
    limits: Option<&UploadLimits>,
    size_bytes: i64,
    expire_time: Option<&Timestamp>,
) -> Option<[(HeaderName, String); 1]> {
    let max_append_size = limits?.max_range_bytes;
    let expire_time = SystemTime::try_from(*expire_time?).ok()?;
    let max_age = expire_time.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
    let value = format!("max-size={size_bytes}, max-append-size={max_append_size}, max-age={max_age}");
    Some([(UPLOAD_LIMIT, value)])
}
