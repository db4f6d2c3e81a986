//! Print jobs, the part of the catalog that sessions hang on: pushed with their document, and deleted with their bytes.

use uuid::Uuid;

use super::{CatalogError, Store, interval};
use crate::{
    name::{DocumentId, JobKey, SessionId},
    session::{CatalogCaller, Principal},
};

/// A print job with its document, as its owner sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrintJob {
    /// The job.
    pub key: JobKey,
    /// Who created it.
    pub creator: Principal,
    /// Its document.
    pub document: DocumentId,
    /// The owner's revision.
    pub revision: i64,
}

impl Store {
    /// Creates or updates a job with its document; answers what is stored. Creator and document never change.
    pub async fn upsert_print_job(&self, caller: &CatalogCaller, job: &PrintJob) -> Result<PrintJob, CatalogError> {
        let tenant = caller.tenant().0;
        let mut tx = self.pool.begin().await?;
        let stored = sqlx::query!(
            r#"
            insert into print_job as j (tenant_id, printer_id, job_id, created_by, revision) values ($1, $2, $3, $4, $5)
            on conflict (tenant_id, printer_id, job_id) do update
            set revision = case when j.delete_time is null then greatest(j.revision, excluded.revision) else j.revision end
            returning created_by, revision, delete_time is not null as "deleted!"
            "#,
            tenant,
            job.key.printer,
            job.key.job,
            job.creator.to_string(),
            job.revision,
        )
        .fetch_one(&mut *tx)
        .await?;
        if stored.deleted {
            return Err(CatalogError::JobDeleted);
        }
        sqlx::query!(
            "insert into print_document (tenant_id, document_id, printer_id, job_id) values ($1, $2, $3, $4)
             on conflict do nothing",
            tenant,
            job.document.0,
            job.key.printer,
            job.key.job,
        )
        .execute(&mut *tx)
        .await?;
        let document: Option<Uuid> = sqlx::query_scalar!(
            "select document_id from print_document where tenant_id = $1 and printer_id = $2 and job_id = $3",
            tenant,
            job.key.printer,
            job.key.job,
        )
        .fetch_optional(&mut *tx)
        .await?;

        let creator = stored.created_by.as_deref().and_then(Principal::parse).ok_or(CatalogError::JobChanged)?;
        let document = document.map(DocumentId).ok_or(CatalogError::JobChanged)?;
        let is_older = job.revision < stored.revision;
        if !is_older && (creator != job.creator || document != job.document) {
            return Err(CatalogError::JobChanged);
        }
        tx.commit().await?;
        Ok(PrintJob { key: job.key.clone(), creator, document, revision: stored.revision })
    }

    /// Deletes a job: ends its active session, frees its bytes, and leaves a tombstone that no late upsert brings back.
    /// Answers the session that has ended now, if any: its writers are to be told.
    pub async fn delete_print_job(
        &self,
        caller: &CatalogCaller,
        job: &JobKey,
        revision: i64,
        request_id: &str,
    ) -> Result<Option<SessionId>, CatalogError> {
        let tenant = caller.tenant().0;
        let mut tx = self.pool.begin().await?;
        // Locks the job: no session of it is created from here on.
        let deleted = sqlx::query_scalar!(
            "insert into print_job as j (tenant_id, printer_id, job_id, revision, delete_time)
             values ($1, $2, $3, $4, now())
             on conflict (tenant_id, printer_id, job_id) do update
             set revision = excluded.revision, delete_time = coalesce(j.delete_time, excluded.delete_time)
             where j.revision <= excluded.revision
             returning 1",
            tenant,
            job.printer,
            job.job,
            revision,
        )
        .fetch_optional(&mut *tx)
        .await?;
        if deleted.is_none() {
            return Ok(None);
        }

        let grace = interval(self.terms.writer_grace);
        let canceled = sqlx::query_scalar!(
            "with ended as (
                 update upload_session s
                 set state      = case when s.expire_time > now() then 'canceled' else 'expired' end,
                     end_time   = least(now(), s.expire_time),
                     ended_by   = case when s.expire_time > now() then $4 end,
                     end_reason = case when s.expire_time > now() then 'print-job-deleted' else 'expired' end
                 from print_document d
                 where (d.tenant_id, d.printer_id, d.job_id) = ($1, $2, $3)
                   and (s.tenant_id, s.document_id) = (d.tenant_id, d.document_id) and s.state = 'active'
                 returning s.tenant_id, s.session_id, s.document_id, s.state
             ), queued as (
                 insert into reclaim (tenant_id, session_id, final_time)
                 select tenant_id, session_id, now() + $6 from ended
             ), audited as (
                 insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
                 select tenant_id, session_id, document_id, 'cancel', $4, 'access-token', $5 from ended where state = 'canceled'
                 union all
                 select tenant_id, session_id, document_id, 'expire', null, 'none', null from ended where state = 'expired'
             )
             select session_id from ended",
            tenant,
            job.printer,
            job.job,
            caller.application().to_string(),
            request_id,
            &grace,
        )
        .fetch_optional(&mut *tx)
        .await?;

        // A completed session stays completed; without a manifest, none of its bytes is kept. This statement sees one
        // that was completed while the one before waited for it.
        sqlx::query!(
            "with completed as (
                 select s.tenant_id, s.session_id
                 from upload_session s join print_document d using (tenant_id, document_id)
                 where (d.tenant_id, d.printer_id, d.job_id) = ($1, $2, $3) and s.state = 'completed'
             ), emptied as (
                 delete from fragment f using completed c
                 where (f.tenant_id, f.session_id) = (c.tenant_id, c.session_id)
             )
             insert into reclaim (tenant_id, session_id, final_time)
             select tenant_id, session_id, now() + $4 from completed
             on conflict (tenant_id, session_id) do update
             set due_time = excluded.due_time, final_time = excluded.final_time, passes = 0",
            tenant,
            job.printer,
            job.job,
            &grace,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(canceled.map(SessionId))
    }
}
