//! Finds documents by the names of their jobs, each with the session that its caller means, many at once.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Error, FoundDocument, Terms, Wanted,
    batch::{Answer, Operation, member},
    corrupt,
    resolve::{printer_or_share, session},
};
use crate::{
    name::{DocumentId, JobKey, JobName, TenantId},
    session::{Caller, Document, Principal},
};

/// Finds a document, and a session of it, by the name of its job.
#[derive(Debug, Clone)]
pub(super) struct FindDocument {
    pub(super) caller: Caller,
    pub(super) job: JobName,
    pub(super) document: Option<DocumentId>,
    pub(super) wanted: Option<Wanted>,
}

/// The tenant, with the parts of the resource that exist.
struct DocumentRow {
    member: i64,
    subscription_active: bool,
    document_id: Option<Uuid>,
    printer_id: Option<String>,
    created_by: Option<String>,
    has_own_task: bool,
    session_id: Option<Uuid>,
    owner: Option<String>,
    url_generation: Option<i32>,
}

impl Operation for FindDocument {
    type Answer = FoundDocument;
    const IS_REPEATABLE: bool = true;

    fn tenant(&self) -> TenantId {
        self.caller.tenant
    }

    async fn run_batch(
        connection: &mut PgConnection,
        _: &Terms,
        batch: &[Self],
    ) -> Result<Vec<Option<Answer<Self>>>, sqlx::Error> {
        let columns = FindDocumentColumns::of(batch);
        let query = sqlx::query_as!(
            DocumentRow,
            r#"
            select member as "member!", subscription_active as "subscription_active!", d.document_id as "document_id?",
                   d.printer_id as "printer_id?", d.created_by as "created_by?", s.session_id as "session_id?",
                   s.owner as "owner?", s.url_generation as "url_generation?",
                   exists (
                       select from print_task k
                       where (k.tenant_id, k.printer_id, k.job_id) = (d.tenant_id, d.printer_id, d.job_id)
                         and k.trigger_application = asked.application and k.state = 'processing'
                   ) as "has_own_task!"
            from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::bool[],
                        $9::uuid[])
                 with ordinality
                 as asked (tenant_id, printer_id, share_id, job_id, document_id, caller, application, wants_session, etag,
                           member)
            -- Each look-up is by key. `offset 0` keeps it so, whatever Postgres makes of the arrays.
            cross join lateral (
                select subscription_active and delete_time is null as subscription_active from tenant
                where tenant_id = asked.tenant_id offset 0
            ) t
            left join lateral (
                select printer_id from printer_share where (tenant_id, share_id) = (asked.tenant_id, asked.share_id) offset 0
            ) h on true
            left join lateral (
                select j.tenant_id, j.printer_id, j.job_id, document_id, created_by
                from print_job j join print_document using (tenant_id, printer_id, job_id)
                where j.tenant_id = asked.tenant_id and j.printer_id = coalesce(h.printer_id, asked.printer_id)
                  and j.job_id = asked.job_id and delete_time is null
                  and (asked.document_id is null or document_id = asked.document_id)
                offset 0
            ) d on true
            left join lateral (
                -- However many sessions the document has had, few are read. They are sorted as the caller means them.
                select session_id, owner, url_generation from (
                    select * from upload_session
                    where tenant_id = d.tenant_id and session_id = asked.etag and document_id = d.document_id
                    union all
                    select * from upload_session
                    where tenant_id = d.tenant_id and document_id = d.document_id and state in ('active', 'completed')
                      and asked.etag is null
                    union all
                    (select * from upload_session
                     where tenant_id = d.tenant_id and document_id = d.document_id and owner = asked.caller
                       and asked.etag is null
                     order by create_time desc limit 1)
                    union all
                    (select * from upload_session
                     where tenant_id = d.tenant_id and document_id = d.document_id and asked.etag is null
                     order by owner limit 1)
                ) u
                where asked.wants_session
                order by owner = asked.caller desc, (state = 'active' and expire_time > now()) desc, create_time desc
                limit 1
            ) s on true
            "#,
            &columns.tenants,
            &columns.printers as _,
            &columns.shares as _,
            &columns.jobs,
            &columns.documents as _,
            &columns.callers,
            &columns.applications as _,
            &columns.wants_session,
            &columns.etags as _,
        );
        let mut answers: Vec<_> = batch.iter().map(|_| Some(Ok(FoundDocument::default()))).collect();
        for row in query.fetch_all(connection).await? {
            let (find, answer) = member(batch, &mut answers, row.member);
            *answer = Some(row.into_found(find.caller.tenant, &find.job.job));
        }
        Ok(answers)
    }
}

/// The columns of a batch, for `unnest`.
#[derive(Default)]
struct FindDocumentColumns {
    tenants: Vec<Uuid>,
    printers: Vec<Option<String>>,
    shares: Vec<Option<String>>,
    jobs: Vec<String>,
    documents: Vec<Option<Uuid>>,
    callers: Vec<String>,
    applications: Vec<Option<String>>,
    wants_session: Vec<bool>,
    etags: Vec<Option<Uuid>>,
}

impl FindDocumentColumns {
    fn of(batch: &[FindDocument]) -> Self {
        let mut columns = Self::default();
        for FindDocument { caller, job, document, wanted } in batch {
            let (printer, share) = printer_or_share(&job.queue);
            let application = match &caller.principal {
                Principal::Application(app_id) => Some(app_id.clone()),
                Principal::User(_) => None,
            };
            columns.tenants.push(caller.tenant.0);
            columns.printers.push(printer.cloned());
            columns.shares.push(share.cloned());
            columns.jobs.push(job.job.clone());
            columns.documents.push(document.map(|document| document.0));
            columns.callers.push(caller.principal.to_string());
            columns.applications.push(application);
            columns.wants_session.push(wanted.is_some());
            columns.etags.push(match wanted {
                Some(Wanted::WithEtag(etag)) => Some(etag.0),
                Some(Wanted::Latest) | None => None,
            });
        }
        columns
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
            session: session(tenant, self.session_id, self.owner, self.url_generation)?,
        })
    }
}
