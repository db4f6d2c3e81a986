//! `UploadSessions`: create, get, renew the URL, send, delete.

use std::{sync::Arc, time::Instant};

use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;
use uuid::Uuid;

use super::{from_guard, range_body::RangeBody, reply, request_id, task_result, upload_range::upload_range};
use crate::{
    app_state::AppState,
    error::{Error, Limited},
    guard::MaySend,
    name::SessionId,
    permits::Permit,
    proto::{
        CreateUploadSessionRequest, DeleteUploadSessionRequest, DocumentProperties, GetUploadSessionRequest,
        RenewUploadUrlRequest, UploadRangeRequest, UploadRangeResponse, UploadSession,
        upload_sessions_server::UploadSessions,
    },
    range_bytes::RangeBytes,
    session::{End, MissingSession, OwnedSession, PermittedDocument, Properties, State},
    store::{CancelOutcome, Created, Reclaim},
    telemetry::{RequestLog, meters},
    text::is_invisible,
};

/// The longest name of a document, in characters.
const MAX_NAME_CHARS: usize = 255;

/// The longest media type, in bytes.
const MAX_CONTENT_TYPE_BYTES: usize = 255;

/// The handlers of `UploadSessions`.
#[derive(Debug)]
pub struct UploadSessionsService(pub Arc<AppState>);

#[tonic::async_trait]
impl UploadSessions for UploadSessionsService {
    async fn create_upload_session(
        &self,
        request: Request<CreateUploadSessionRequest>,
    ) -> Result<Response<UploadSession>, Status> {
        let app = Arc::clone(&self.0);
        let permitted: PermittedDocument = from_guard(request.extensions())?;
        let (request_id, log) = (request_id(request.extensions()), RequestLog::of(request.extensions()));
        let may_send = MaySend::is_in(request.extensions());
        let properties = parse_properties(request.into_inner().properties, app.limits.max_document_bytes)?;
        let id = SessionId(Uuid::now_v7());

        // In its own task: if the caller hangs up, the writers of an expired session must still be notified.
        let creation = async move {
            let create = app.store.create_session(&permitted, id, &properties, &request_id).await?;
            if let Some(expired) = create.expired {
                app.announce_end(expired, End::Expired);
            }
            match create.created {
                Created::Session(session) => {
                    log.set_upload(session.id.0);
                    let upload_urls = may_send.then_some(&*app.upload_urls);
                    let created = reply::upload_session(&session, permitted.document().tenant, upload_urls)?;
                    Ok(with_limits(created, &app))
                }
                Created::OtherActive(session) => Err(Error::SessionActive(session)),
                Created::AlreadyUploaded => Err(Error::DocumentAlreadyUploaded),
                Created::JobCanceled => Err(Error::PrintJobCanceled),
                Created::JobDeleted => Err(Error::DocumentNotFound),
                Created::LimitReached(reached) => Err(Error::LimitReached(reached)),
            }
        };
        Ok(Response::new(task_result(tokio::spawn(creation.in_current_span()).await)?))
    }

    async fn get_upload_session(
        &self,
        request: Request<GetUploadSessionRequest>,
    ) -> Result<Response<UploadSession>, Status> {
        let owned: OwnedSession = from_guard(request.extensions())?;
        let upload_urls = MaySend::is_in(request.extensions()).then_some(&*self.0.upload_urls);
        // The guard has read all of it. Only an overdue session must be ended before it is reported.
        let session = match owned.contents().filter(|session| !session.is_overdue) {
            Some(session) => Arc::clone(session),
            None => Arc::new(self.0.upload_session(&owned).await?.ok_or(Error::SessionNotFound)?),
        };
        let session = reply::upload_session(&session, owned.tenant(), upload_urls)?;
        Ok(Response::new(with_limits(session, &self.0)))
    }

    async fn renew_upload_url(
        &self,
        request: Request<RenewUploadUrlRequest>,
    ) -> Result<Response<UploadSession>, Status> {
        let app = Arc::clone(&self.0);
        let owned: OwnedSession = from_guard(request.extensions())?;
        let may_send = MaySend::is_in(request.extensions());

        // In its own task: if the caller hangs up, the writers that came with an earlier URL must still be notified.
        let renewal = async move {
            loop {
                if let Some(session) = app.store.renew_upload_url(&owned).await? {
                    app.announce_renewal(&session);
                    let upload_urls = may_send.then_some(&*app.upload_urls);
                    let renewed = reply::upload_session(&session, owned.tenant(), upload_urls)?;
                    return Ok(with_limits(renewed, &app));
                }
                // Nothing was changed: one more read finds out why.
                let session = app.upload_session(&owned).await?.ok_or(Error::SessionNotFound)?;
                match session.state.end() {
                    Some(end) => return Err(end.into()),
                    None if session.state == State::Completed => return Err(Error::SessionCompleted),
                    // It was overdue, and a range has prolonged it.
                    None => {}
                }
            }
        };
        Ok(Response::new(task_result(tokio::spawn(renewal.in_current_span()).await)?))
    }

    async fn upload_range(
        &self,
        mut request: Request<Streaming<UploadRangeRequest>>,
    ) -> Result<Response<UploadRangeResponse>, Status> {
        let owned: OwnedSession = from_guard(request.extensions())?;
        let permit: Arc<Permit> = from_guard(request.extensions())?;
        let request_id = request_id(request.extensions());
        let bytes = RangeBytes::take(request.extensions_mut());
        let body = RangeBody::new(request.into_inner(), bytes);
        let response = upload_range(Arc::clone(&self.0), owned, permit, request_id, body).await?;
        let limits = reply::upload_limits(&self.0, response.state());
        Ok(Response::new(UploadRangeResponse { limits, ..response }))
    }

    async fn delete_upload_session(
        &self,
        request: Request<DeleteUploadSessionRequest>,
    ) -> Result<Response<()>, Status> {
        if request.extensions().get::<MissingSession>().is_some() {
            return Ok(Response::new(()));
        }
        let app = Arc::clone(&self.0);
        let owned: OwnedSession = from_guard(request.extensions())?;
        let request_id = request_id(request.extensions());

        // In its own task: if the caller hangs up, the writers of the ended session must still be notified.
        let deletion = async move {
            let begun = Instant::now();
            let reserved = app.claims.reserve();
            match app.store.cancel(&owned, &request_id, reserved.is_some()).await? {
                CancelOutcome::Ended(end) => {
                    app.notify_writers(owned.id(), end);
                    app.claims.begin(Reclaim::of_ended(owned.tenant(), owned.id()), reserved);
                }
                CancelOutcome::EndedBefore(end) => {
                    app.notify_writers(owned.id(), end);
                    app.claims.hasten(owned.tenant(), owned.id());
                }
                CancelOutcome::Completed => return Err(Error::SessionCompleted),
            }
            metrics::histogram!(meters::CANCEL_DURATION).record(begun.elapsed());
            Ok(())
        };
        task_result(tokio::spawn(deletion.in_current_span()).await)?;
        Ok(Response::new(()))
    }
}

/// The session with what it accepts, if it is active.
fn with_limits(session: UploadSession, app: &AppState) -> UploadSession {
    UploadSession { limits: reply::upload_limits(app, session.state()), ..session }
}

fn parse_properties(properties: Option<DocumentProperties>, max_document_bytes: u64) -> Result<Properties, Error> {
    let properties = properties.ok_or_else(|| Error::invalid_field("properties", "is required"))?;
    let DocumentProperties { document_name, content_type, size_bytes } = properties;

    let name_chars = document_name.chars().count();
    if !(1..=MAX_NAME_CHARS).contains(&name_chars) || document_name.chars().any(is_invisible) {
        let problem = format!(
            "must have 1 to {MAX_NAME_CHARS} characters, none of them a control character or one that is not visible"
        );
        return Err(Error::invalid_field("properties.document_name", problem));
    }
    if !is_media_type(&content_type) {
        let problem = format!("must be a media type, type/subtype, of at most {MAX_CONTENT_TYPE_BYTES} bytes");
        return Err(Error::invalid_field("properties.content_type", problem));
    }
    let size_bytes = u64::try_from(size_bytes).unwrap_or_default();
    if size_bytes == 0 {
        return Err(Error::invalid_field("properties.size_bytes", format!("must be from 1 to {max_document_bytes}")));
    }
    if size_bytes > max_document_bytes {
        return Err(Error::TooLarge { what: Limited::Document, limit: max_document_bytes });
    }
    Ok(Properties { document_name, content_type, size_bytes })
}

/// `type/subtype`, each a token of RFC 9110 §5.6.2, and then any printable parameters.
fn is_media_type(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c))
    };
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let (kind, subtype) = essence.split_once('/').unwrap_or_default();
    let printable = text.bytes().all(|c| (b' '..=b'~').contains(&c));
    text.len() <= MAX_CONTENT_TYPE_BYTES && printable && is_token(kind) && is_token(subtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        for valid in ["application/pdf", "application/oxps", "text/plain; charset=utf-8", "application/vnd.x+xml"] {
            assert!(is_media_type(valid), "{valid}");
        }
        for invalid in ["", "pdf", "/", "application/", "/pdf", "a b/c", "a/b\n", "a/b/c", "a/ü"] {
            assert!(!is_media_type(invalid), "{invalid}");
        }
    }
}
