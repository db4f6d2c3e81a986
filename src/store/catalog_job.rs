//! Print jobs for the catalog's owner: upserted with their document, and deleted with their bytes.

use tracing::debug_span;
use uuid::Uuid;

use super::{CatalogError, Error, Store, database::Transaction, ending::Canceler, interval};
use crate::{
    name::{DocumentId, JobKey, SessionId},
    session::{CatalogCaller, Credential, End, Principal},
};

/// A print job with its document, as its owner sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogPrintJob {
    /// The job.
    pub key: JobKey,
    /// The user or application that created it.
    pub creator: Principal,
    /// Its document.
    pub document: DocumentId,
    /// The owner's revision.
    pub revision: i64,
}

/// The result of deleting a job.
#[derive(Debug)]
pub enum DeleteJobOutcome {
    /// It is deleted, and this session of it has ended, now or before. Its writers must be notified in both cases.
    Ended(SessionId, End),
    /// It is deleted. It had no session, or a completed one, whose bytes are queued for reclaiming.
    NoSession,
    /// The revision is older than the stored one: nothing was changed.
    Outdated,
}

impl Store {
    /// Creates or updates a job with its document; returns what is stored. Creator and document never change.
    pub async fn upsert_print_job(
        &self,
        caller: &CatalogCaller,
        job: &CatalogPrintJob,
    ) -> Result<CatalogPrintJob, CatalogError> {
        let tenant = caller.tenant().0;
        let upsert_job = sqlx::query!(
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
        );
        let insert_document = sqlx::query!(
            "insert into print_document (tenant_id, document_id, printer_id, job_id) values ($1, $2, $3, $4)
             on conflict do nothing",
            tenant,
            job.document.0,
            job.key.printer,
            job.key.job,
        );
        let stored_document = sqlx::query_scalar!(
            "select document_id from print_document where tenant_id = $1 and printer_id = $2 and job_id = $3",
            tenant,
            job.key.printer,
            job.key.job,
        );
        let upserted = self.database.transaction(debug_span!("store.upsert_print_job"), async |transaction| {
            let stored = transaction.statement(async |connection| upsert_job.fetch_one(connection).await).await?;
            if stored.deleted {
                return Err(CatalogError::JobDeleted);
            }
            transaction.statement(async |connection| insert_document.execute(connection).await).await?;
            let document: Option<Uuid> =
                transaction.statement(async |connection| stored_document.fetch_optional(connection).await).await?;

            let creator = stored.created_by.as_deref().and_then(Principal::parse).ok_or(CatalogError::JobChanged)?;
            let document = document.map(DocumentId).ok_or(CatalogError::JobChanged)?;
            let is_older = job.revision < stored.revision;
            if !is_older && (creator != job.creator || document != job.document) {
                return Err(CatalogError::JobChanged);
            }
            crash_point!("job_upsert.before_commit");
            Ok(CatalogPrintJob { key: job.key.clone(), creator, document, revision: stored.revision })
        });
        upserted.await
    }

    /// Deletes a job: ends its active session, frees its bytes, and leaves a tombstone. A late upsert does not restore
    /// the job.
    pub async fn delete_print_job(
        &self,
        caller: &CatalogCaller,
        job: &JobKey,
        revision: i64,
        request_id: &str,
    ) -> Result<DeleteJobOutcome, CatalogError> {
        let tenant = caller.tenant();
        let canceler = Canceler {
            principal: caller.application(),
            credential: Credential::AccessToken.as_str(),
            request_id,
            reason: "print-job-deleted",
            lease: None,
        };
        // Locks the job's row: from here on no session of the job is created.
        let delete = sqlx::query_scalar!(
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
        );
        let deleted = self.database.transaction(debug_span!("store.delete_print_job"), async |transaction| {
            let deleted = transaction.statement(async |connection| delete.fetch_optional(connection).await).await?;
            let Some(is_deleted_now) = deleted else { return Ok(DeleteJobOutcome::Outdated) };
            let ended = self.end_session_of_job(transaction, tenant, job, canceler).await?;
            if is_deleted_now {
                self.free_completed(transaction, caller, job, request_id).await?;
            }
            crash_point!("job_delete.before_commit");
            Ok(ended.map_or(DeleteJobOutcome::NoSession, |(session, end)| DeleteJobOutcome::Ended(session, end)))
        });
        deleted.await
    }

    /// Frees the bytes of a deleted job's document. Its session stays completed. Its manifest is deleted, so that
    /// reclaiming keeps none of its objects. This also covers a session that was completed while the statement that
    /// should cancel it waited for its row.
    async fn free_completed(
        &self,
        transaction: &mut Transaction,
        caller: &CatalogCaller,
        job: &JobKey,
        request_id: &str,
    ) -> Result<(), Error> {
        let free = sqlx::query!(
            "with completed as (
                 select tenant_id, session_id, document_id
                 from upload_session join print_document using (tenant_id, document_id)
                 where tenant_id = $1 and printer_id = $2 and job_id = $3 and state = 'completed'
             ), freed as (
                 update upload_session s set is_freed = true from completed c
                 where (s.tenant_id, s.session_id) = (c.tenant_id, c.session_id)
             ), emptied as (
                 delete from fragment f using completed c
                 where (f.tenant_id, f.session_id) = (c.tenant_id, c.session_id)
             ), audited as (
                 insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
                 select tenant_id, session_id, document_id, 'free', $5, $6, $7 from completed
             )
             insert into reclaim (tenant_id, session_id, final_time)
             select tenant_id, session_id, clock_timestamp() + $4 from completed
             on conflict (tenant_id, session_id) do update
             set due_time = excluded.due_time, final_time = excluded.final_time, passes = 0",
            caller.tenant().0,
            job.printer,
            job.job,
            interval(self.terms.writer_grace),
            caller.application().to_string(),
            Credential::AccessToken.as_str(),
            request_id,
        );
        transaction.statement(async |connection| free.execute(connection).await).await?;
        crash_point!("job_delete.freed");
        Ok(())
    }
}
