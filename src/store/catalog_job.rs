//! Print jobs as the catalog's owner has them: pushed with their document, and deleted with their bytes.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{CatalogError, InTime, Store, ending::Canceler, interval};
use crate::{
    name::{DocumentId, JobKey, SessionId},
    session::{CatalogCaller, Credential, Ended, Principal},
};

/// A print job with its document, as its owner sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogPrintJob {
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
    #[tracing::instrument(name = "store.upsert_print_job", level = "debug", skip_all)]
    pub async fn upsert_print_job(
        &self,
        caller: &CatalogCaller,
        job: &CatalogPrintJob,
    ) -> Result<CatalogPrintJob, CatalogError> {
        let tenant = caller.tenant().0;
        let mut tx = self.pool.begin().in_time().await?;
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
        .in_time()
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
        .in_time()
        .await?;
        let document: Option<Uuid> = sqlx::query_scalar!(
            "select document_id from print_document where tenant_id = $1 and printer_id = $2 and job_id = $3",
            tenant,
            job.key.printer,
            job.key.job,
        )
        .fetch_optional(&mut *tx)
        .in_time()
        .await?;

        let creator = stored.created_by.as_deref().and_then(Principal::parse).ok_or(CatalogError::JobChanged)?;
        let document = document.map(DocumentId).ok_or(CatalogError::JobChanged)?;
        let is_older = job.revision < stored.revision;
        if !is_older && (creator != job.creator || document != job.document) {
            return Err(CatalogError::JobChanged);
        }
        tx.commit().in_time().await?;
        Ok(CatalogPrintJob { key: job.key.clone(), creator, document, revision: stored.revision })
    }

    /// Deletes a job: ends its active session, frees its bytes, and leaves a tombstone that no late upsert brings back.
    /// Answers the session that has ended, now or before, if any: its writers are to be told.
    #[tracing::instrument(name = "store.delete_print_job", level = "debug", skip_all)]
    pub async fn delete_print_job(
        &self,
        caller: &CatalogCaller,
        job: &JobKey,
        revision: i64,
        request_id: &str,
    ) -> Result<Option<(SessionId, Ended)>, CatalogError> {
        let tenant = caller.tenant();
        let mut tx = self.pool.begin().in_time().await?;
        // Locks the job: no session of it is created from here on.
        let deleted_now = sqlx::query_scalar!(
            r#"
            insert into print_job as j (tenant_id, printer_id, job_id, revision, delete_time)
            values ($1, $2, $3, $4, now())
            on conflict (tenant_id, printer_id, job_id) do update
            set revision = excluded.revision, delete_time = coalesce(j.delete_time, excluded.delete_time)
            where j.revision <= excluded.revision
            returning delete_time = now() as "deleted_now!"
            "#,
            tenant.0,
            job.printer,
            job.job,
            revision,
        )
        .fetch_optional(&mut *tx)
        .in_time()
        .await?;
        // Older than what is stored.
        let Some(is_deleted_now) = deleted_now else {
            tx.commit().in_time().await?;
            return Ok(None);
        };

        let canceler = Canceler {
            principal: caller.application(),
            credential: Credential::AccessToken.as_str(),
            request_id,
            reason: "print-job-deleted",
        };
        let ended = self.end_session_of_job(&mut tx, tenant, job, canceler).await?;
        if is_deleted_now {
            self.free_completed(&mut tx, caller, job, request_id).await?;
        }
        tx.commit().in_time().await?;
        Ok(ended)
    }

    /// Frees the bytes of a deleted job's document. Its session stays completed; without a manifest, nothing of it is
    /// kept. Seen here is also a session that was completed while its cancel waited for it.
    async fn free_completed(
        &self,
        connection: &mut PgConnection,
        caller: &CatalogCaller,
        job: &JobKey,
        request_id: &str,
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "with completed as (
                 select tenant_id, session_id, document_id
                 from upload_session join print_document using (tenant_id, document_id)
                 where tenant_id = $1 and printer_id = $2 and job_id = $3 and state = 'completed'
             ), emptied as (
                 delete from fragment f using completed c
                 where (f.tenant_id, f.session_id) = (c.tenant_id, c.session_id)
             ), audited as (
                 insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
                 select tenant_id, session_id, document_id, 'free', $5, $6, $7 from completed
             )
             insert into reclaim (tenant_id, session_id, final_time)
             select tenant_id, session_id, now() + $4 from completed
             on conflict (tenant_id, session_id) do update
             set due_time = excluded.due_time, final_time = excluded.final_time, passes = 0",
            caller.tenant().0,
            job.printer,
            job.job,
            interval(self.terms.writer_grace),
            caller.application().to_string(),
            Credential::AccessToken.as_str(),
            request_id,
        )
        .execute(connection)
        .in_time()
        .await?;
        Ok(())
    }
}
