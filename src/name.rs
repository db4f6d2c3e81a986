//! Ids and resource names: `printers/{printer}/jobs/{job}/documents/{document}` and its parents, `uploadSessions/{id}`
//! and the catalog's `tenants/{tenant}/…`. Parsing is strict: except for the case of a GUID, a name has one spelling.

use std::fmt;

use uuid::Uuid;

/// Longest accepted id of a printer, share, job or task, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// A tenant's directory GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TenantId(pub Uuid);

/// The id of a print document, unique in its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DocumentId(pub Uuid);

/// The id of an upload session: its etag, and the folder of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub Uuid);

/// A name that is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must have the form {expected}")]
pub struct NameError {
    expected: &'static str,
}

/// A printer or a printer share. A caller can name a job by either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queue {
    /// `printers/{printer}`.
    Printer(String),
    /// `shares/{share}`, which stands for a printer.
    Share(String),
}

/// `printers/{printer}/jobs/{job}`, or the same below `shares/{share}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobName {
    /// The printer or the share.
    pub queue: Queue,
    /// The job's id on its printer.
    pub job: String,
}

/// `printers/{printer}/jobs/{job}/documents/{document}`, or the same below `shares/{share}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentName {
    /// The job, which has exactly this document.
    pub job: JobName,
    pub document: DocumentId,
}

/// One of the two names of an upload session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionName {
    /// `uploadSessions/{id}`: exactly one session, for ever.
    Id(SessionId),
    /// `{document}/uploadSession`: the session of the document that the store chooses for the caller.
    OfDocument(DocumentName),
}

/// The name of a catalog entry, below `tenants/{tenant}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogName {
    pub tenant: TenantId,
    /// The entry in it.
    pub entry: CatalogEntry,
}

/// An entry of a tenant's catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogEntry {
    Tenant,
    /// `printers/{printer}`.
    Printer(String),
    /// `shares/{share}`.
    Share(String),
    /// `printers/{printer}/jobs/{job}`.
    Job(JobKey),
    /// `printers/{printer}/jobs/{job}/tasks/{task}`.
    Task(JobKey, String),
}

/// A job within its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobKey {
    pub printer: String,
    /// The job's id on that printer.
    pub job: String,
}

impl Queue {
    const FORM: &str = "printers/{printer} or shares/{share}";

    /// Parses the name of a printer or share.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let parts: Vec<&str> = name.split('/').collect();
        Self::from_parts(&parts).ok_or(NameError { expected: Self::FORM })
    }

    fn from_parts(parts: &[&str]) -> Option<Self> {
        match parts {
            ["printers", printer] => Some(Self::Printer(id(printer)?)),
            ["shares", share] => Some(Self::Share(id(share)?)),
            _ => None,
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Printer(printer) => write!(f, "printers/{printer}"),
            Self::Share(share) => write!(f, "shares/{share}"),
        }
    }
}

impl JobName {
    const FORM: &str = "printers/{printer}/jobs/{job} (or shares/{share}/…)";

    pub fn parse(name: &str) -> Result<Self, NameError> {
        let parts: Vec<&str> = name.split('/').collect();
        Self::from_parts(&parts).ok_or(NameError { expected: Self::FORM })
    }

    fn from_parts(parts: &[&str]) -> Option<Self> {
        let [queue @ .., "jobs", job] = parts else { return None };
        Some(Self { queue: Queue::from_parts(queue)?, job: id(job)? })
    }
}

impl From<JobKey> for JobName {
    fn from(key: JobKey) -> Self {
        Self { queue: Queue::Printer(key.printer), job: key.job }
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/jobs/{}", self.queue, self.job)
    }
}

impl DocumentName {
    const FORM: &str =
        "printers/{printer}/jobs/{job}/documents/{document} (or shares/{share}/…), with a GUID as document";

    pub fn parse(name: &str) -> Result<Self, NameError> {
        let parts: Vec<&str> = name.split('/').collect();
        Self::from_parts(&parts).ok_or(NameError { expected: Self::FORM })
    }

    fn from_parts(parts: &[&str]) -> Option<Self> {
        let [job @ .., "documents", document] = parts else { return None };
        Some(Self { job: JobName::from_parts(job)?, document: DocumentId(guid(document)?) })
    }
}

impl fmt::Display for DocumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/documents/{}", self.job, self.document.0)
    }
}

impl SessionName {
    const FORM: &str = "uploadSessions/{id} with a GUID as id, or {document}/uploadSession";

    /// Parses either name of a session.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let parts: Vec<&str> = name.split('/').collect();
        let parsed = match parts.as_slice() {
            ["uploadSessions", id] => guid(id).map(|id| Self::Id(SessionId(id))),
            [document @ .., "uploadSession"] => DocumentName::from_parts(document).map(Self::OfDocument),
            _ => None,
        };
        parsed.ok_or(NameError { expected: Self::FORM })
    }
}

impl SessionId {
    /// Parses an etag: the id, spelled as in the session's name.
    pub fn parse_etag(etag: &str) -> Option<Self> {
        guid(etag).map(Self)
    }
}

impl fmt::Display for SessionId {
    /// The session's name, `uploadSessions/{id}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uploadSessions/{}", self.0)
    }
}

impl CatalogName {
    const FORM: &str = "tenants/{tenant}[/printers/{printer}[/jobs/{job}[/tasks/{task}]]] or \
                        tenants/{tenant}/shares/{share}, with a GUID as tenant";

    /// Parses the name of a catalog entry.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let parts: Vec<&str> = name.split('/').collect();
        Self::from_parts(&parts).ok_or(NameError { expected: Self::FORM })
    }

    fn from_parts(parts: &[&str]) -> Option<Self> {
        let ["tenants", tenant, entry @ ..] = parts else { return None };
        let job_key = |printer, job| Some(JobKey { printer: id(printer)?, job: id(job)? });
        let entry = match entry {
            [] => CatalogEntry::Tenant,
            ["printers", printer] => CatalogEntry::Printer(id(printer)?),
            ["shares", share] => CatalogEntry::Share(id(share)?),
            ["printers", printer, "jobs", job] => CatalogEntry::Job(job_key(printer, job)?),
            ["printers", printer, "jobs", job, "tasks", task] => CatalogEntry::Task(job_key(printer, job)?, id(task)?),
            _ => return None,
        };
        Some(Self { tenant: TenantId(guid(tenant)?), entry })
    }
}

/// An id of a printer, share, job or task: RFC 3986 unreserved characters, so that it is the same in every URL.
pub fn id(text: &str) -> Option<String> {
    let unreserved = |c: u8| c.is_ascii_alphanumeric() || b"-._~".contains(&c);
    let valid = (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(unreserved);
    valid.then(|| text.to_owned())
}

/// A GUID in its usual hyphenated form.
pub fn guid(text: &str) -> Option<Uuid> {
    const HYPHENATED_LENGTH: usize = 36;
    (text.len() == HYPHENATED_LENGTH).then(|| Uuid::try_parse(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "0f9d3a52-7a6d-4c59-9f0c-0a1b2c3d4e5f";

    #[test]
    fn a_document_name_prints_as_it_was_parsed() {
        for queue in ["printers/p-1", "shares/s.2"] {
            let name = format!("{queue}/jobs/1825/documents/{GUID}");
            assert_eq!(DocumentName::parse(&name).map(|name| name.to_string()), Ok(name));
        }
    }

    #[test]
    fn a_job_and_its_queue_have_different_names() {
        for queue in ["printers/p-1", "shares/s.2"] {
            assert_eq!(Queue::parse(queue).map(|queue| queue.to_string()), Ok(queue.to_owned()));
            let job = format!("{queue}/jobs/1825");
            assert_eq!(JobName::parse(&job).map(|job| job.to_string()), Ok(job.clone()));
            assert!(Queue::parse(&job).is_err() && JobName::parse(queue).is_err());
            assert!(JobName::parse(&format!("{job}/documents/{GUID}")).is_err());
        }
        assert!(Queue::parse("queues/p").is_err() && Queue::parse("printers/").is_err());
    }

    #[test]
    fn a_session_has_two_names() {
        let by_id = SessionName::parse(&format!("uploadSessions/{GUID}"));
        assert!(matches!(by_id, Ok(SessionName::Id(_))), "{by_id:?}");
        let of_document = SessionName::parse(&format!("printers/p/jobs/1/documents/{GUID}/uploadSession"));
        assert!(matches!(of_document, Ok(SessionName::OfDocument(_))), "{of_document:?}");
    }

    #[test]
    fn malformed_names_are_refused() {
        let names = [
            String::new(),
            "/".into(),
            "uploadSessions/".into(),
            "uploadSessions/7".into(),
            format!("uploadSessions/{{{GUID}}}"),
            format!("uploadSessions/{}", GUID.replace('-', "")),
            format!("uploadSessions/{GUID}/"),
            format!("/uploadSessions/{GUID}"),
            format!("printers//jobs/1/documents/{GUID}/uploadSession"),
            format!("printers/p/jobs/1/documents/{GUID}/uploadSession/x"),
            format!("printers/p q/jobs/1/documents/{GUID}/uploadSession"),
            format!("printers/p/jobs/1%2F/documents/{GUID}/uploadSession"),
            format!("printers/{}/jobs/1/documents/{GUID}/uploadSession", "p".repeat(129)),
            format!("queues/p/jobs/1/documents/{GUID}/uploadSession"),
            "printers/p/jobs/1/documents/d/uploadSession".into(),
        ];
        for name in names {
            assert!(SessionName::parse(&name).is_err(), "{name}");
        }
    }

    #[test]
    fn catalog_names_begin_with_a_tenant() {
        let job = CatalogName::parse(&format!("tenants/{GUID}/printers/p/jobs/1")).map(|name| name.entry);
        assert_eq!(job, Ok(CatalogEntry::Job(JobKey { printer: "p".into(), job: "1".into() })));
        assert!(CatalogName::parse("tenants/t/printers/p").is_err());
        assert!(CatalogName::parse("printers/p").is_err());
        assert!(CatalogName::parse(&format!("tenants/{GUID}/printers")).is_err());
    }
}
