//! From a name to what it names: one read for the interceptor.

use super::{InTime, Store, corrupt};
use crate::{
    name::{DocumentId, DocumentName, JobKey, Queue, SessionId, TenantId},
    session::{Caller, Document, Principal, Session},
};

/// What a document's name leads to.
#[derive(Debug)]
pub struct FoundDocument {
    /// Whether the tenant has an active subscription.
    pub subscription_active: bool,
    /// The document, if there is one.
    pub document: Option<Document>,
    /// The session that `{document}/uploadSession` means for the caller, if there is one.
    pub session: Option<Session>,
}

/// What a session's id leads to.
#[derive(Debug)]
pub struct FoundSession {
    /// Whether the tenant has an active subscription.
    pub subscription_active: bool,
    /// The session, if there is one.
    pub session: Option<Session>,
}

impl Store {
    /// Resolves a document's name, and its session: the caller's own active one, else the caller's own latest ended one,
    /// else somebody else's active or latest. With `etag`: exactly that session of the document.
    pub async fn document_of(
        &self,
        caller: &Caller,
        name: &DocumentName,
        etag: Option<SessionId>,
    ) -> Result<FoundDocument, sqlx::Error> {
        let (printer, share) = match &name.queue {
            Queue::Printer(printer) => (Some(printer), None),
            Queue::Share(share) => (None, Some(share)),
        };
        let row = sqlx::query!(
            r#"
            select t.subscription_active, d.document_id as "document_id?", d.printer_id as "printer_id?",
                   d.created_by as "created_by?", s.session_id as "session_id?", s.owner as "owner?"
            from tenant t
            left join printer_share h on h.tenant_id = t.tenant_id and h.share_id = $3
            left join (
                print_document natural join (
                    select tenant_id, printer_id, job_id, created_by from print_job where delete_time is null
                ) job
            ) d on d.tenant_id = t.tenant_id and d.document_id = $5 and d.job_id = $4
               and d.printer_id = coalesce(h.printer_id, $2)
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
            name.job,
            name.document.0,
            caller.principal.to_string(),
            etag.map(|etag| etag.0),
        )
        .fetch_optional(&self.pool)
        .in_time()
        .await?;

        let Some(row) = row else {
            return Ok(FoundDocument { subscription_active: false, document: None, session: None });
        };
        let document = match (row.document_id, row.printer_id, row.created_by) {
            (Some(id), Some(printer), Some(creator)) => Some(Document {
                tenant: caller.tenant,
                id: DocumentId(id),
                job: JobKey { printer, job: name.job.clone() },
                job_creator: Principal::parse(&creator).ok_or_else(|| corrupt("print_job.created_by"))?,
            }),
            _ => None,
        };
        let session = session(caller.tenant, row.session_id, row.owner)?;
        Ok(FoundDocument { subscription_active: row.subscription_active, document, session })
    }

    /// Resolves a session's id.
    pub async fn session_by_id(&self, tenant: TenantId, id: SessionId) -> Result<FoundSession, sqlx::Error> {
        let row = sqlx::query!(
            r#"
            select t.subscription_active, s.session_id as "session_id?", s.owner as "owner?"
            from tenant t
            left join upload_session s on s.tenant_id = t.tenant_id and s.session_id = $2
            where t.tenant_id = $1
            "#,
            tenant.0,
            id.0,
        )
        .fetch_optional(&self.pool)
        .in_time()
        .await?;

        let Some(row) = row else { return Ok(FoundSession { subscription_active: false, session: None }) };
        let session = session(tenant, row.session_id, row.owner)?;
        Ok(FoundSession { subscription_active: row.subscription_active, session })
    }
}

fn session(tenant: TenantId, id: Option<uuid::Uuid>, owner: Option<String>) -> Result<Option<Session>, sqlx::Error> {
    let (Some(id), Some(owner)) = (id, owner) else { return Ok(None) };
    let owner = Principal::parse(&owner).ok_or_else(|| corrupt("upload_session.owner"))?;
    Ok(Some(Session { tenant, id: SessionId(id), owner }))
}
