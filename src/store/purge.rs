//! Purges tombstones that are older than their retention, once their bytes are gone.

use tracing::Span;
use uuid::Uuid;

use super::{Error, Store, database::Transaction, interval};

/// How many tombstones are purged at most. The statements have the same number as a literal.
pub const PURGE_BATCH: usize = 64;

impl Store {
    /// Deletes up to [`PURGE_BATCH`] canceled or expired sessions whose tombstones are older than the retention. Returns
    /// how many.
    pub async fn purge_sessions(&self) -> Result<usize, Error> {
        let purge = sqlx::query!(
            "delete from upload_session where (tenant_id, session_id) in (
                 select tenant_id, session_id from upload_session s
                 where state in ('canceled', 'expired') and end_time < now() - $1::interval
                   and not exists (
                       select from reclaim r where (r.tenant_id, r.session_id) = (s.tenant_id, s.session_id)
                   )
                 -- A literal: for a parameter Postgres would plan as if it were a tenth of all tombstones.
                 order by end_time limit 64 for update skip locked
             )",
            interval(self.terms.tombstone_retention),
        );
        let purged = self.database.statement(Span::none(), async |connection| purge.execute(connection).await).await?;
        crash_point!("purge_sessions.committed");
        Ok(usize::try_from(purged.rows_affected()).unwrap_or(usize::MAX))
    }

    /// Deletes up to [`PURGE_BATCH`] jobs whose tombstones are older than the retention, each with its document and the
    /// session that completed it. Returns how many.
    pub async fn purge_print_jobs(&self) -> Result<usize, Error> {
        // A job is kept while it has a session that was not completed, or bytes that are not freed.
        let old = sqlx::query!(
            "select tenant_id, printer_id, job_id from print_job j
             where delete_time < now() - $1::interval
               and not exists (
                   select from print_document d
                   join upload_session s using (tenant_id, document_id)
                   where (d.tenant_id, d.printer_id, d.job_id) = (j.tenant_id, j.printer_id, j.job_id)
                     and (s.state <> 'completed'
                          or exists (select from reclaim r where (r.tenant_id, r.session_id) = (s.tenant_id, s.session_id))
                          or exists (select from fragment f where (f.tenant_id, f.session_id) = (s.tenant_id, s.session_id)))
               )
             order by delete_time limit 64 for update skip locked",
            interval(self.terms.tombstone_retention),
        );
        let purged = self.database.transaction(Span::none(), async |transaction| {
            let jobs = transaction.statement(async |connection| old.fetch_all(connection).await).await?;
            let purged = jobs.len();
            let (mut tenants, mut printers, mut ids) = (Vec::new(), Vec::new(), Vec::new());
            for job in jobs {
                tenants.push(job.tenant_id);
                printers.push(job.printer_id);
                ids.push(job.job_id);
            }
            delete_print_jobs(transaction, &tenants, &printers, &ids).await?;
            Ok(purged)
        });
        purged.await
    }
}

/// Deletes jobs, each with the session that completed its document.
async fn delete_print_jobs(
    transaction: &mut Transaction,
    tenants: &[Uuid],
    printers: &[String],
    ids: &[String],
) -> Result<(), Error> {
    let sessions = sqlx::query!(
        "delete from upload_session s
         using print_document d, unnest($1::uuid[], $2::text[], $3::text[]) as old (tenant_id, printer_id, job_id)
         where (d.tenant_id, d.printer_id, d.job_id) = (old.tenant_id, old.printer_id, old.job_id)
           and (s.tenant_id, s.document_id) = (d.tenant_id, d.document_id) and s.state = 'completed'",
        tenants,
        printers,
        ids,
    );
    let jobs = sqlx::query!(
        "delete from print_job j
         using unnest($1::uuid[], $2::text[], $3::text[]) as old (tenant_id, printer_id, job_id)
         where (j.tenant_id, j.printer_id, j.job_id) = (old.tenant_id, old.printer_id, old.job_id)",
        tenants,
        printers,
        ids,
    );
    transaction.statement(async |connection| sessions.execute(connection).await).await?;
    transaction.statement(async |connection| jobs.execute(connection).await).await?;
    crash_point!("purge_jobs.before_commit");
    Ok(())
}
