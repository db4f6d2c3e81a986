//! The upload session below its document's Graph path: create, get, renew the upload URL, cancel.

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    answer::message_and_id, body, call::GraphCall, error::Error, json, odata, path::GraphPath, status,
    upload_limit::limit_of,
};
use crate::{
    proto::{
        CreateUploadSessionRequest, DeleteUploadSessionRequest, DocumentProperties, GetUploadSessionRequest, Reason,
        RenewUploadUrlRequest, UploadSession, upload_session::State as SessionState,
    },
    telemetry::RequestId,
};

/// The body of createUploadSession. Annotations that SDKs add (`@odata.type`) are ignored.
#[derive(Deserialize)]
pub struct CreateBody {
    #[serde(deserialize_with = "body::object")]
    properties: Properties,
}

/// printDocumentUploadProperties.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    document_name: String,
    content_type: String,
    #[serde(deserialize_with = "body::integer")]
    size: i64,
}

/// The etag that a deletion requires, from `If-Match`; empty when any etag matches.
pub struct IfMatch(pub String);

/// `POST …/createUploadSession`.
pub async fn create(
    GraphCall { mut client, path }: GraphCall,
    body::Json(CreateBody { properties }): body::Json<CreateBody>,
) -> Result<Response, Error> {
    let properties = DocumentProperties {
        document_name: properties.document_name,
        content_type: properties.content_type,
        size_bytes: properties.size,
    };
    let request = CreateUploadSessionRequest { parent: path.document(), properties: Some(properties) };
    let (session, id) = message_and_id(client.sessions.create_upload_session(request).await)?;
    Ok(respond(&path, id, &session, json::upload_session(&session)))
}

/// `GET …/uploadSession`: the session's state, and a new upload URL for an owner who has lost the old one.
pub async fn get(GraphCall { mut client, path }: GraphCall) -> Result<Response, Error> {
    let request = GetUploadSessionRequest { name: path.upload_session() };
    let (session, id) = message_and_id(client.sessions.get_upload_session(request).await)?;
    if session.state() != SessionState::Active {
        return Err(Error::session_ended(&session, id));
    }
    Ok(respond(&path, id, &session, json::own_upload_session(&session)))
}

/// `POST …/uploadSession/renewUploadUrl`: a new upload URL, in place of all that went out before.
pub async fn renew(GraphCall { mut client, path }: GraphCall) -> Result<Response, Error> {
    let request = RenewUploadUrlRequest { name: path.upload_session() };
    let (session, id) = message_and_id(client.sessions.renew_upload_url(request).await)?;
    Ok(respond(&path, id, &session, json::own_upload_session(&session)))
}

/// `DELETE …/uploadSession`: cancels the upload permanently. A request body is ignored.
pub async fn delete(GraphCall { mut client, path }: GraphCall, IfMatch(etag): IfMatch) -> Result<Response, Error> {
    let request = DeleteUploadSessionRequest { name: path.upload_session(), etag, allow_missing: false };
    let ((), id) = message_and_id(client.sessions.delete_upload_session(request).await)?;
    Ok((status::DELETED, id, ()).into_response())
}

/// The response with a session, in the given shape.
fn respond(path: &GraphPath, id: RequestId, session: &UploadSession, mut shape: Value) -> Response {
    shape["@odata.context"] = odata::context(path.version, "microsoft.graph.uploadSession").into();
    (id, [(header::ETAG, format!("\"{}\"", session.etag))], limit_of(session), Json(shape)).into_response()
}

impl IfMatch {
    /// One strong or weak tag, or `*`, which any session matches (RFC 9110, section 13.1.1). A session's tag never
    /// changes, so a weak tag means the same as a strong one.
    fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let Some(value) = headers.get(header::IF_MATCH) else { return Ok(Self(String::new())) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(String::new()));
        }
        let tag = text.strip_prefix("W/").unwrap_or(text);
        let tag = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
        if tag.is_empty() || tag.contains(['"', ',']) {
            return Err(Error::invalid(Reason::IfMatchInvalid, "If-Match takes one entity tag"));
        }
        Ok(Self(tag.to_owned()))
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::of(&parts.headers)
    }
}
