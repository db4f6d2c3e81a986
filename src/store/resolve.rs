//! Resolves a name to its resource, with one read, for the guard.

use tracing::debug_span;
use uuid::Uuid;

use super::{Error, Store, corrupt};
use crate::{
    name::{DocumentId, JobKey, JobName, Queue, SessionId, TenantId},
    session::{Caller, Document, Principal, Printer, Session},
};

/// The result for the name of a printer or share.
#[derive(Debug)]
pub struct FoundPrinter {
    /// Whether the tenant has an active subscription.
    pub subscription_active: bool,
    /// The printer, named itself or through its share, if it exists.
    pub printer: Option<Printer>,
}

/// The result for the name of a job, or of its document.
#[derive(Debug, Default)]
pub struct FoundDocument {
    /// Whether the tenant has an active subscription.
    pub subscription_active: bool,
    /// The job's document, if it exists.
    pub document: Option<Document>,
    /// Whether the job has a print task in `processing` that the calling application's own trigger started.
    pub has_own_task: bool,
    /// The session that `{document}/uploadSession` means for the caller, if it exists.
    pub session: Option<Session>,
}

/// The result for a session's id.
#[derive(Debug)]
pub struct FoundSession {
    /// Whether the tenant has an active subscription.
    pub subscription_active: bool,
    /// The session, if it exists.
    pub session: Option<Session>,
}

/// The tenant, with the parts of the resource that exist.
struct DocumentRow {
    subscription_active: bool,
    document_id: Option<Uuid>,
    printer_id: Option<String>,
    created_by: Option<String>,
    has_own_task: bool,
    session_id: Option<Uuid>,
    owner: Option<String>,
}

impl Store {
    /// Resolves the name of a printer or share.
    pub async fn printer_of(&self, tenant: TenantId, queue: &Queue) -> Result<FoundPrinter, Error> {
        let (printer, share) = printer_or_share(queue);
        let query = sqlx::query!(
            r#"
            select t.subscription_active, p.printer_id as "printer_id?"
            from tenant t
            left join printer_share h on h.tenant_id = t.tenant_id and h.share_id = $3
            left join printer p on p.tenant_id = t.tenant_id and p.printer_id = coalesce(h.printer_id, $2)
            where t.tenant_id = $1
            "#,
            tenant.0,
            printer,
            share,
        );
        let span = debug_span!("store.printer_of");
        let row = self.database.statement(span, async |connection| query.fetch_optional(connection).await).await?;

        let Some(row) = row else { return Ok(FoundPrinter { subscription_active: false, printer: None }) };
        let printer = row.printer_id.map(|id| Printer { tenant, id });
        Ok(FoundPrinter { subscription_active: row.subscription_active, printer })
    }

    /// Resolves the name of a job, or of its document if `document` is given. Also finds one session of the document:
    /// the caller's active one, else the caller's latest one, else another owner's active one, else another owner's
    /// latest one. With `etag`, it is the document's session with that id, or none.
    pub async fn document_of(
        &self,
        caller: &Caller,
        job: &JobName,
        document: Option<DocumentId>,
        etag: Option<SessionId>,
    ) -> Result<FoundDocument, Error> {
        let (printer, share) = printer_or_share(&job.queue);
        let application = match &caller.principal {
            Principal::Application(app_id) => Some(app_id),
            Principal::User(_) => None,
        };
        let query = sqlx::query_as!(
            DocumentRow,
            r#"
            select t.subscription_active, d.document_id as "document_id?", d.printer_id as "printer_id?",
                   d.created_by as "created_by?", s.session_id as "session_id?", s.owner as "owner?",
                   exists (
                       select from print_task k
                       where (k.tenant_id, k.printer_id, k.job_id) = (d.tenant_id, d.printer_id, d.job_id)
                         and k.trigger_application = $8 and k.state = 'processing'
                   ) as "has_own_task!"
            from tenant t
            left join printer_share h on h.tenant_id = t.tenant_id and h.share_id = $3
            left join (
                select tenant_id, printer_id, job_id, document_id, created_by
                from print_document join print_job using (tenant_id, printer_id, job_id)
                where delete_time is null
            ) d on d.tenant_id = t.tenant_id and d.printer_id = coalesce(h.printer_id, $2) and d.job_id = $4
               and ($5::uuid is null or d.document_id = $5)
            left join lateral (
                select session_id, owner
                from upload_session u
                where u.tenant_id = d.tenant_id and u.document_id = d.document_id
                  and ($7::uuid is null or u.session_id = $7)
                order by u.owner = $6 desc, (u.state = 'active' and u.expire_time > now()) desc, u.create_time desc
                limit 1
            ) s on true
            where t.tenant_id = $1
            "#,
            caller.tenant.0,
            printer,
            share,
            job.job,
            document.map(|document| document.0),
            caller.principal.to_string(),
            etag.map(|etag| etag.0),
            application,
        );
        let span = debug_span!("store.document_of");
        let row = self.database.statement(span, async |connection| query.fetch_optional(connection).await).await?;
        row.map_or_else(|| Ok(FoundDocument::default()), |row| row.into_found(caller.tenant, &job.job))
    }

    /// Resolves a session's id.
    pub async fn session_by_id(&self, tenant: TenantId, id: SessionId) -> Result<FoundSession, Error> {
        let query = sqlx::query!(
            r#"
            select t.subscription_active, s.session_id as "session_id?", s.owner as "owner?"
            from tenant t
            left join upload_session s on s.tenant_id = t.tenant_id and s.session_id = $2
            where t.tenant_id = $1
            "#,
            tenant.0,
            id.0,
        );
        let span = debug_span!("store.session_by_id");
        let row = self.database.statement(span, async |connection| query.fetch_optional(connection).await).await?;

        let Some(row) = row else { return Ok(FoundSession { subscription_active: false, session: None }) };
        let session = session(tenant, row.session_id, row.owner)?;
        Ok(FoundSession { subscription_active: row.subscription_active, session })
    }
}

impl DocumentRow {
    fn into_found(self, tenant: TenantId, job: &str) -> Result<FoundDocument, Error> {
        let document = match (self.document_id, self.printer_id, self.created_by) {
            (Some(id), Some(printer), Some(creator)) => {
                let job = JobKey { printer, job: job.to_owned() };
                let job_creator = Principal::parse(&creator)
                    .ok_or_else(|| corrupt("print_job", "created_by", JobName::from(job.clone())))?;
                Some(Document { tenant, id: DocumentId(id), job, job_creator })
            }
            _ => None,
        };
        Ok(FoundDocument {
            subscription_active: self.subscription_active,
            document,
            has_own_task: self.has_own_task,
            session: session(tenant, self.session_id, self.owner)?,
        })
    }
}

fn printer_or_share(queue: &Queue) -> (Option<&String>, Option<&String>) {
    match queue {
        Queue::Printer(printer) => (Some(printer), None),
        Queue::Share(share) => (None, Some(share)),
    }
}

fn session(tenant: TenantId, id: Option<Uuid>, owner: Option<String>) -> Result<Option<Session>, Error> {
    let (Some(id), Some(owner)) = (id.map(SessionId), owner) else { return Ok(None) };
    let owner = Principal::parse(&owner).ok_or_else(|| corrupt("upload_session", "owner", id))?;
    Ok(Some(Session { tenant, id, owner }))
}
