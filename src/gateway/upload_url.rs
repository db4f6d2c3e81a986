//! The upload URL: send a range, get the progress, cancel. The URL is the only credential: any other one is ignored.

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};

use super::{
    Gateway,
    answer::message_and_id,
    call::UploadUrlCall,
    content_range::ContentRange,
    error::Error,
    json, status,
    upload_limit::{limit_of, upload_limit},
    upload_session::IfMatch,
};
use crate::proto::{
    DeleteUploadSessionRequest, GetUploadSessionRequest, RangeHeader, UploadRangeResponse,
    upload_session::State as SessionState,
};

/// `PUT`: sends one range of the document. Ranges may come in any order, and up to four at once on one replica (unless
/// configured otherwise).
pub async fn put(
    State(gateway): State<Gateway>,
    UploadUrlCall { mut client, session }: UploadUrlCall,
    range: ContentRange,
    request: Request,
) -> Result<Response, Error> {
    let ContentRange { start, end, total } = range;
    let header = RangeHeader { name: session, start, end, total, ..Default::default() };
    let call = gateway.upstream.range_call(header, request.into_body());

    let (answer, id) = message_and_id(client.sessions.upload_range(call).await)?;
    let limit = upload_limit(answer.limits.as_ref(), total, answer.expire_time.as_ref());
    Ok((status::of_range(answer.state()), id, limit, Json(range_body(&answer))).into_response())
}

/// `GET`: when the session expires, and which ranges are missing.
pub async fn get(UploadUrlCall { mut client, session }: UploadUrlCall) -> Result<Response, Error> {
    let request = GetUploadSessionRequest { name: session };
    let (session, id) = message_and_id(client.sessions.get_upload_session(request).await)?;
    if session.state() != SessionState::Active {
        return Err(Error::session_ended(&session, id));
    }
    let progress = json::progress(session.expire_time.as_ref(), &session.next_expected_ranges);
    Ok((id, limit_of(&session), Json(progress)).into_response())
}

/// `DELETE`: cancels the upload permanently.
pub async fn delete(
    UploadUrlCall { mut client, session }: UploadUrlCall,
    IfMatch(etag): IfMatch,
) -> Result<Response, Error> {
    let request = DeleteUploadSessionRequest { name: session, etag, allow_missing: false };
    let ((), id) = message_and_id(client.sessions.delete_upload_session(request).await)?;
    Ok((status::DELETED, id, ()).into_response())
}

fn range_body(answer: &UploadRangeResponse) -> serde_json::Value {
    match &answer.document {
        Some(document) => json::print_document(document),
        None => json::progress(answer.expire_time.as_ref(), &answer.next_expected_ranges),
    }
}
