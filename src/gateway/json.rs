//! The service's messages as Microsoft Graph's JSON types: uploadSession, printDocument, printJob and their parts.

use prost_types::Timestamp;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::proto::{
    ByteRange, Principal, PrintDocument, PrintJob, UploadSession, principal::Identity, print_job::State,
    upload_session::EndReason,
};

/// What a client needs to continue an upload: when the session expires, and which ranges are missing.
pub fn progress(expire_time: Option<&Timestamp>, missing: &[ByteRange]) -> Value {
    json!({"expirationDateTime": expire_time.map(instant), "nextExpectedRanges": ranges(missing)})
}

/// An active session as createUploadSession returns it. A caller who may not send gets no URL.
pub fn upload_session(session: &UploadSession) -> Value {
    let mut shape = progress(session.expire_time.as_ref(), &session.next_expected_ranges);
    if !session.upload_url.is_empty() {
        shape["uploadUrl"] = session.upload_url.as_str().into();
    }
    shape
}

/// An active session as its owner gets it below the document, with the properties that were set when it was created.
pub fn own_upload_session(session: &UploadSession) -> Value {
    let mut shape = upload_session(session);
    let properties = session.properties.clone().unwrap_or_default();
    shape["id"] = session.etag.as_str().into();
    shape["createdDateTime"] = session.create_time.as_ref().map(instant).into();
    shape["createdBy"] = identity_set(session.owner.as_ref());
    shape["documentName"] = properties.document_name.into();
    shape["contentType"] = properties.content_type.into();
    shape["size"] = properties.size_bytes.into();
    shape
}

/// A document. Its name has two members: Graph's resource type has displayName, the page on uploads has documentName.
pub fn print_document(document: &PrintDocument) -> Value {
    json!({
        "id": last_segment(&document.name),
        "displayName": document.document_name,
        "documentName": document.document_name,
        "contentType": document.content_type,
        "size": document.size_bytes,
        "uploadedDateTime": document.upload_time.as_ref().map(instant),
    })
}

/// The document of a job that has just been created.
pub fn new_print_document(name: &str) -> Value {
    print_document(&PrintDocument { name: name.to_owned(), ..Default::default() })
}

/// A job, without its documents.
pub fn print_job(job: &PrintJob) -> Value {
    // The service has checked that the text is JSON.
    let configuration: Value = serde_json::from_str(&job.configuration).unwrap_or_else(|_| json!({}));
    json!({
        "id": last_segment(&job.name),
        "createdDateTime": job.create_time.as_ref().map(instant),
        "createdBy": {"id": job.creator.as_ref().and_then(|creator| creator.identity.as_ref()).map(id)},
        "status": print_job_status(job),
        "configuration": configuration,
        "isFetchable": false,
        "redirectedFrom": null,
        "redirectedTo": null,
    })
}

pub fn print_job_status(job: &PrintJob) -> Value {
    let (state, description) = match job.state() {
        State::Pending => ("pending", "The job waits for the printer."),
        State::Canceled => ("canceled", "The job was canceled."),
        State::Paused | State::Unspecified => ("paused", "The job is not a candidate for processing yet."),
    };
    let details: &[&str] = if job.upload_pending { &["uploadPending"] } else { &[] };
    json!({"state": state, "description": description, "isAcquiredByPrinter": false, "details": details})
}

/// Why a session has ended: the value of `endReason`.
pub fn end_reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Unspecified => "unknown",
        EndReason::UploadCompleted => "uploadCompleted",
        EndReason::Deleted => "deleted",
        EndReason::PrintJobDeleted => "printJobDeleted",
        EndReason::Expired => "expired",
        EndReason::PrintJobCanceled => "printJobCanceled",
    }
}

/// A time in UTC with seven digits after the second, as Graph writes it.
pub fn instant(timestamp: &Timestamp) -> String {
    let time = OffsetDateTime::from_unix_timestamp(timestamp.seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let ticks = timestamp.nanos.unsigned_abs() / 100;
    format!("{}.{ticks:07}Z", odata_date(time))
}

/// A time in UTC as OData errors write it: to the second, and without a time zone.
pub fn odata_date(time: OffsetDateTime) -> String {
    let (date, time) = (time.date(), time.time());
    let (month, day) = (u8::from(date.month()), date.day());
    format!("{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", date.year(), time.hour(), time.minute(), time.second())
}

/// The id at the end of a resource name.
pub fn last_segment(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

/// `{first}-{last}`, both inclusive, as every SDK can read it.
fn ranges(ranges: &[ByteRange]) -> Vec<String> {
    ranges.iter().map(|range| format!("{}-{}", range.start, range.end - 1)).collect()
}

fn identity_set(principal: Option<&Principal>) -> Value {
    match principal.and_then(|principal| principal.identity.as_ref()) {
        Some(Identity::User(oid)) => json!({"user": {"id": oid}}),
        Some(Identity::Application(app_id)) => json!({"application": {"id": app_id}}),
        None => Value::Null,
    }
}

fn id(identity: &Identity) -> &str {
    match identity {
        Identity::User(id) | Identity::Application(id) => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_seven_digits_and_a_zone() {
        let timestamp = Timestamp { seconds: 1_603_184_209, nanos: 123_456_789 };
        assert_eq!(instant(&timestamp), "2020-10-20T08:56:49.1234567Z");
        assert_eq!(instant(&Timestamp { seconds: 0, nanos: 0 }), "1970-01-01T00:00:00.0000000Z");
    }

    #[test]
    fn ranges_are_closed() {
        let missing = [ByteRange { start: 0, end: 1 }, ByteRange { start: 5, end: 4_533_322 }];
        assert_eq!(ranges(&missing), ["0-0", "5-4533321"]);
    }
}
