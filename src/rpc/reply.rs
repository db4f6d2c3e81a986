//! Makes the messages of responses from the types of the store.

use std::time::SystemTime;

use prost_types::Timestamp;

use crate::{
    app_state::AppState,
    error::Error,
    guard::UploadUrls,
    name::{DocumentName, JobName, TenantId},
    proto::{self, principal::Identity, print_document, print_job, upload_session},
    range::{ByteRange, combined_crc32c},
    session::{Capability, EndReason, Principal, State, UploadSession},
    store::{self, StoredPiece},
};

/// A session, with a fresh upload URL while it is active. Without `upload_urls` it has none: the caller may not send.
pub fn upload_session(
    session: &UploadSession,
    tenant: TenantId,
    upload_urls: Option<&UploadUrls>,
) -> Result<proto::UploadSession, Error> {
    let upload_url = match (session.state, upload_urls) {
        (State::Active, Some(upload_urls)) => {
            let capability = Capability { tenant, session: session.id, url_generation: session.url_generation };
            upload_urls.sign(capability, session.expire_limit)?
        }
        _ => String::new(),
    };
    Ok(proto::UploadSession {
        name: session.id.to_string(),
        etag: session.id.0.to_string(),
        document: session.document.to_string(),
        state: state(session.state).into(),
        properties: Some(proto::DocumentProperties {
            document_name: session.properties.document_name.clone(),
            content_type: session.properties.content_type.clone(),
            size_bytes: wire_bytes(session.properties.size_bytes),
        }),
        owner: Some(principal(&session.owner)),
        create_time: Some(timestamp(session.create_time)),
        expire_time: Some(timestamp(session.expire_time)),
        next_expected_ranges: byte_ranges(&session.missing),
        received_bytes: wire_bytes(session.received_bytes),
        upload_url,
        end_time: session.end_time.map(timestamp),
        ended_by: session.ended_by.as_ref().map(principal),
        end_reason: session.end_reason.map_or(upload_session::EndReason::Unspecified, end_reason).into(),
        limits: None,
    })
}

/// What a session in this state accepts: nothing unless it is active.
pub fn upload_limits(app: &AppState, state: upload_session::State) -> Option<proto::UploadLimits> {
    (state == upload_session::State::Active).then(|| proto::UploadLimits {
        max_range_bytes: wire_bytes(app.limits.max_range_bytes),
        max_ranges: i32::try_from(app.writers.limit()).unwrap_or(i32::MAX),
    })
}

/// A document that is not uploaded: its upload is pending or in progress.
pub fn pending_document(name: &DocumentName, is_uploading: bool) -> proto::PrintDocument {
    let state = if is_uploading { print_document::State::Uploading } else { print_document::State::UploadPending };
    proto::PrintDocument { name: name.to_string(), state: state.into(), ..Default::default() }
}

/// An uploaded document, from its completed session and the session's manifest. If the manifest is empty, the job was
/// deleted a moment ago: a document without bytes is not reported as uploaded.
pub fn uploaded_document(session: &UploadSession, manifest: &[StoredPiece]) -> Result<proto::PrintDocument, Error> {
    if manifest.is_empty() {
        return Err(Error::DocumentNotFound);
    }
    Ok(proto::PrintDocument {
        name: session.document.to_string(),
        state: print_document::State::Uploaded.into(),
        document_name: session.properties.document_name.clone(),
        content_type: session.properties.content_type.clone(),
        size_bytes: wire_bytes(session.properties.size_bytes),
        upload_time: session.end_time.map(timestamp),
        crc32c: Some(combined_crc32c(manifest.iter().map(|stored| &stored.piece))),
    })
}

pub fn print_job(job: &store::PrintJob) -> proto::PrintJob {
    let state = match job {
        store::PrintJob { canceled: true, .. } => print_job::State::Canceled,
        store::PrintJob { started: true, .. } => print_job::State::Pending,
        _ => print_job::State::Paused,
    };
    let name = JobName::from(job.key.clone());
    proto::PrintJob {
        name: name.to_string(),
        state: state.into(),
        upload_pending: !job.uploaded && !job.canceled,
        creator: Some(principal(&job.creator)),
        create_time: Some(timestamp(job.create_time)),
        configuration: job.configuration.clone().unwrap_or_default(),
        document: DocumentName { job: name, document: job.document }.to_string(),
    }
}

pub fn byte_ranges(ranges: &[ByteRange]) -> Vec<proto::ByteRange> {
    let wire = |range: &ByteRange| proto::ByteRange { start: wire_bytes(range.start()), end: wire_bytes(range.end()) };
    ranges.iter().map(wire).collect()
}

pub fn state(state: State) -> upload_session::State {
    match state {
        State::Active => upload_session::State::Active,
        State::Completed => upload_session::State::Completed,
        State::Canceled => upload_session::State::Canceled,
        State::Expired => upload_session::State::Expired,
    }
}

pub fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

pub fn principal(principal: &Principal) -> proto::Principal {
    let identity = match principal {
        Principal::User(oid) => Identity::User(oid.clone()),
        Principal::Application(app_id) => Identity::Application(app_id.clone()),
    };
    proto::Principal { identity: Some(identity) }
}

fn end_reason(reason: EndReason) -> upload_session::EndReason {
    match reason {
        EndReason::UploadCompleted => upload_session::EndReason::UploadCompleted,
        EndReason::Deleted => upload_session::EndReason::Deleted,
        EndReason::PrintJobDeleted => upload_session::EndReason::PrintJobDeleted,
        EndReason::PrintJobCanceled => upload_session::EndReason::PrintJobCanceled,
        EndReason::Expired => upload_session::EndReason::Expired,
    }
}

/// A document's size or offset, which the database limits to 1 TiB.
fn wire_bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
