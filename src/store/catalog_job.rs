//! Print jobs for the catalog's owner: upserted with their document, and deleted with their bytes.

use tracing::debug_span;
use uuid::Uuid;

use super::{
    CatalogError, Store,
    ending::Canceler,
    free::{FreedBy, JobKeys, free_completed},
};
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
    /// Creates or updates a job with its document; returns what is stored. Creator and document never change. From then
    /// on it is the catalog's to delete, also if it was created here.
    pub async fn upsert_print_job(
        &self,
        caller: &CatalogCaller,
        job: &CatalogPrintJob,
    ) -> Result<CatalogPrintJob, CatalogError> {
        let tenant = caller.tenant().0;
        let upsert_job = sqlx::query!(
            r#"
            insert into print_job as j (tenant_id, printer_id, job_id, created_by, revision, is_in_catalog)
            values ($1, $2, $3, $4, $5, true)
            on conflict (tenant_id, printer_id, job_id) do update
            set revision = case when j.delete_time is null then greatest(j.revision, excluded.revision) else j.revision end,
                is_in_catalog = true
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
                let application = caller.application().to_string();
                let by = FreedBy {
                    actor: Some(&application),
                    credential: Some(Credential::AccessToken.as_str()),
                    request_id: Some(request_id),
                };
                free_completed(transaction, self.terms.writer_grace, &JobKeys::of(tenant, job), by).await?;
            }
            crash_point!("job_delete.before_commit");
            Ok(ended.map_or(DeleteJobOutcome::NoSession, |(session, end)| DeleteJobOutcome::Ended(session, end)))
        });
        deleted.await
    }
}
