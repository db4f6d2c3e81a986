//! Frees the bytes of deleted jobs.

use std::time::Duration;

use uuid::Uuid;

use super::{Error, database::Transaction, interval};
use crate::name::{JobKey, TenantId};

/// The keys of jobs as three arrays, for `unnest`.
#[derive(Debug, Default)]
pub(super) struct JobKeys {
    pub(super) tenants: Vec<Uuid>,
    pub(super) printers: Vec<String>,
    pub(super) jobs: Vec<String>,
}

/// Who frees bytes. Nobody, if a retention has passed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FreedBy<'a> {
    pub(super) actor: Option<&'a str>,
    /// The kind of credential that authorized it, in the stored form.
    pub(super) credential: Option<&'a str>,
    pub(super) request_id: Option<&'a str>,
}

impl JobKeys {
    pub(super) fn push(&mut self, tenant: Uuid, printer: String, job: String) {
        self.tenants.push(tenant);
        self.printers.push(printer);
        self.jobs.push(job);
    }

    pub(super) fn of(tenant: TenantId, job: &JobKey) -> Self {
        let mut keys = Self::default();
        keys.push(tenant.0, job.printer.clone(), job.job.clone());
        keys
    }
}

/// Frees the bytes of deleted jobs' documents. The transaction must have locked the jobs. Their sessions stay
/// completed. Their manifests are deleted, so that reclaiming keeps none of their objects. This also covers a session
/// that was completed while the statement that should cancel it waited for its row.
pub(super) async fn free_completed(
    transaction: &mut Transaction,
    writer_grace: Duration,
    jobs: &JobKeys,
    by: FreedBy<'_>,
) -> Result<(), Error> {
    // The rows of the queue are taken in the order of their key, as those who record passes do it.
    let free = sqlx::query!(
        "with completed as materialized (
             select s.tenant_id, s.session_id, s.document_id
             from unnest($1::uuid[], $2::text[], $3::text[]) as asked (tenant_id, printer_id, job_id)
             cross join lateral (
                 select tenant_id, document_id from print_document d
                 where (d.tenant_id, d.printer_id, d.job_id) = (asked.tenant_id, asked.printer_id, asked.job_id)
                 offset 0
             ) d
             cross join lateral (
                 select tenant_id, session_id, document_id from upload_session u
                 where (u.tenant_id, u.document_id) = (d.tenant_id, d.document_id) and state = 'completed'
                 offset 0
             ) s
         ), freed as (
             update upload_session s set is_freed = true from completed c
             where (s.tenant_id, s.session_id) = (c.tenant_id, c.session_id)
         ), emptied as (
             delete from fragment f using completed c
             where (f.tenant_id, f.session_id) = (c.tenant_id, c.session_id)
         ), audited as (
             insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
             select tenant_id, session_id, document_id, 'free', $5, coalesce($6, 'none'), $7 from completed
         )
         insert into reclaim (tenant_id, session_id, final_time)
         select tenant_id, session_id, clock_timestamp() + $4 from completed order by tenant_id, session_id
         on conflict (tenant_id, session_id) do update
         set due_time = excluded.due_time, final_time = excluded.final_time, passes = 0",
        &jobs.tenants,
        &jobs.printers,
        &jobs.jobs,
        interval(writer_grace),
        by.actor,
        by.credential,
        by.request_id,
    );
    transaction.statement(async |connection| free.execute(connection).await).await?;
    crash_point!("job_delete.freed");
    Ok(())
}
