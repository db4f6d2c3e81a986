//! Deletes a tenant with all its rows, for an operator. Each step is repeatable and leaves a state from which the next
//! run continues. The bytes are dropped by the service: a session is removed only after the last pass over its bytes.
//!
//! Rows are read in the order of their key, each once a run, in batches of a transaction each.

use std::time::Duration;

use sqlx::PgConnection;
use tracing::Span;
use uuid::Uuid;

use super::{
    Error,
    database::{Database, Transaction},
    ending::end_locked_sessions,
    free::{FreedBy, JobKeys, free_completed},
    interval,
};
use crate::name::{JobKey, TenantId};

/// Who ends the sessions of a deleted tenant.
const ACTOR: &str = "app:print-upload";

/// The deletion of one tenant.
#[derive(Debug)]
pub struct TenantDeletion {
    database: Database,
    tenant: TenantId,
    writer_grace: Duration,
}

/// What was done with a batch of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed<Key> {
    /// The last row that was read.
    pub last: Key,
    pub removed: i64,
    /// How many rows were read and stay.
    pub left: i64,
    /// When the last of the last passes over the bytes of those sessions may begin, if the service has to make any.
    pub last_pass: Option<String>,
}

impl TenantDeletion {
    /// A deletion in the database at `url`. After `writer_grace` no writer of an ended session can be left.
    pub fn connect(url: &str, tenant: TenantId, writer_grace: Duration) -> Result<Self, Error> {
        Ok(Self { database: Database::connect_lazily(url, 1)?, tenant, writer_grace })
    }

    /// Marks the tenant: from now on it has no subscription, whatever the catalog pushes. Returns whether there is one.
    pub async fn begin(&self) -> Result<bool, Error> {
        let mark = sqlx::query!(
            "update tenant set delete_time = coalesce(delete_time, now()), subscription_active = false
             where tenant_id = $1",
            self.tenant.0,
        );
        let marked = self.database.statement(Span::none(), async |connection| mark.execute(connection).await).await?;
        crash_point!("tenant_delete.begun");
        Ok(marked.rows_affected() > 0)
    }

    /// Deletes the jobs behind `after`, as the catalog would: ends their sessions and frees their bytes. Returns the
    /// last job that it has read, and how many it has deleted. `None` if there is no job behind `after`.
    pub async fn delete_jobs(&self, after: &JobKey) -> Result<Option<(JobKey, usize)>, Error> {
        // In the order of the key. A job that a call has locked is waited for.
        let lock = sqlx::query!(
            r#"
            select printer_id, job_id, delete_time is null as "is_new!" from print_job
            where tenant_id = $1 and (printer_id, job_id) > ($2, $3)
            order by printer_id, job_id limit 64 for no key update
            "#,
            self.tenant.0,
            after.printer,
            after.job,
        );
        let deleted = self.database.transaction(Span::none(), async |transaction| {
            let rows = transaction.statement(async |connection| lock.fetch_all(connection).await).await?;
            let Some(last) = rows.last() else { return Ok(None) };
            let last = JobKey { printer: last.printer_id.clone(), job: last.job_id.clone() };
            let mut jobs = JobKeys::default();
            for row in rows.into_iter().filter(|row| row.is_new) {
                jobs.push(self.tenant.0, row.printer_id, row.job_id);
            }
            if !jobs.jobs.is_empty() {
                self.end_sessions(transaction, &jobs).await?;
                let by = FreedBy { actor: Some(ACTOR), ..FreedBy::default() };
                free_completed(transaction, self.writer_grace, &jobs, by).await?;
                crash_point!("tenant_delete.before_commit");
            }
            Ok(Some((last, jobs.jobs.len())))
        });
        let deleted: Result<_, Error> = deleted.await;
        let deleted = deleted?;
        crash_point!("tenant_delete.jobs_deleted");
        Ok(deleted)
    }

    /// Marks jobs as deleted and ends their active sessions. The transaction has locked the jobs.
    async fn end_sessions(&self, transaction: &mut Transaction, jobs: &JobKeys) -> Result<(), Error> {
        let delete = sqlx::query!(
            "update print_job j set delete_time = now()
             from unnest($1::uuid[], $2::text[], $3::text[]) as asked (tenant_id, printer_id, job_id)
             where (j.tenant_id, j.printer_id, j.job_id) = (asked.tenant_id, asked.printer_id, asked.job_id)",
            &jobs.tenants,
            &jobs.printers,
            &jobs.jobs,
        );
        let end = end_locked_sessions!(
            "
                select s.*, $5::text as actor, 'none' as credential, null as request_id, 'print-job-deleted' as reason,
                       null::interval as lease
                from unnest($2::uuid[], $3::text[], $4::text[]) as asked (tenant_id, printer_id, job_id)
                cross join lateral (
                    select document_id from print_document d
                    where (d.tenant_id, d.printer_id, d.job_id) = (asked.tenant_id, asked.printer_id, asked.job_id)
                    offset 0
                ) d
                cross join lateral (
                    select tenant_id, session_id, expire_time from upload_session u
                    where (u.tenant_id, u.document_id) = (asked.tenant_id, d.document_id) and state = 'active'
                    for no key update
                ) s",
            r#" select count(*) as "ended!" from ended"#,
            interval(self.writer_grace),
            &jobs.tenants,
            &jobs.printers,
            &jobs.jobs,
            ACTOR,
        );
        transaction.statement(async |connection| delete.execute(connection).await).await?;
        transaction.statement(async |connection| end.fetch_one(connection).await).await?;
        crash_point!("tenant_delete.jobs_ended");
        Ok(())
    }

    /// Removes the sessions behind `after` whose bytes are gone for good. One that another transaction has locked stays.
    /// `None` if there is no session behind `after`.
    pub async fn remove_sessions(&self, after: Uuid) -> Result<Option<Removed<Uuid>>, Error> {
        // The manifest of a completed session is emptied when its job is deleted. Locked rows are not waited for: the
        // service purges the same sessions, in the order of their jobs.
        let query = sqlx::query!(
            r#"
            with batch as materialized (
                select session_id from upload_session where tenant_id = $1 and session_id > $2
                order by session_id limit 500
            ), locked as materialized (
                select s.session_id from batch b
                cross join lateral (
                    select session_id from upload_session s
                    where s.tenant_id = $1 and s.session_id = b.session_id and s.state <> 'active'
                      and not exists (
                          select from reclaim r where (r.tenant_id, r.session_id) = (s.tenant_id, s.session_id)
                      )
                      and (s.state <> 'completed' or not exists (
                          select from fragment f where (f.tenant_id, f.session_id) = (s.tenant_id, s.session_id)
                      ))
                    for update skip locked
                ) s
            ), removed as (
                delete from upload_session s using locked l
                where s.tenant_id = $1 and s.session_id = l.session_id
                returning s.session_id
            )
            select (select session_id from batch order by session_id desc limit 1) as "last?",
                   (select count(*) from batch) as "read!", (select count(*) from removed) as "removed!",
                   (select to_char(max(final_time) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC')
                    from batch b cross join lateral (
                        select final_time from reclaim r where r.tenant_id = $1 and r.session_id = b.session_id offset 0
                    ) r) as last_pass
            "#,
            self.tenant.0,
            after,
        );
        let row = self.database.statement(Span::none(), async |connection| query.fetch_one(connection).await).await?;
        crash_point!("tenant_delete.sessions_removed");
        let (removed, left, last_pass) = (row.removed, row.read - row.removed, row.last_pass);
        Ok(row.last.map(|last| Removed { last, removed, left, last_pass }))
    }

    /// Removes the deleted jobs behind `after` that have no session. `None` if there is no job behind `after`.
    pub async fn remove_jobs(&self, after: &JobKey) -> Result<Option<Removed<JobKey>>, Error> {
        let query = sqlx::query!(
            r#"
            with batch as materialized (
                select printer_id, job_id from print_job where tenant_id = $1 and (printer_id, job_id) > ($2, $3)
                order by printer_id, job_id limit 500
            ), removed as (
                delete from print_job j using batch b
                where j.tenant_id = $1 and j.printer_id = b.printer_id and j.job_id = b.job_id
                  and j.delete_time is not null
                  and not exists (
                      select from print_document d
                      cross join lateral (
                          select from upload_session s
                          where s.tenant_id = $1 and s.document_id = d.document_id limit 1
                      ) s
                      where d.tenant_id = $1 and d.printer_id = j.printer_id and d.job_id = j.job_id
                  )
                returning j.job_id
            )
            select last.printer_id as "printer_id?", last.job_id as "job_id?", (select count(*) from batch) as "read!",
                   (select count(*) from removed) as "removed!"
            from (select) one
            left join (select * from batch order by printer_id desc, job_id desc limit 1) last on true
            "#,
            self.tenant.0,
            after.printer,
            after.job,
        );
        let row = self.database.statement(Span::none(), async |connection| query.fetch_one(connection).await).await?;
        crash_point!("tenant_delete.jobs_removed");
        let last = row.printer_id.zip(row.job_id).map(|(printer, job)| JobKey { printer, job });
        Ok(last.map(|last| Removed { last, removed: row.removed, left: row.read - row.removed, last_pass: None }))
    }

    /// Removes the audit trail of some sessions behind `after`. Returns the last of them, and how many rows it has
    /// removed. `None` if there is none behind `after`.
    pub async fn remove_audit(&self, after: Uuid) -> Result<Option<(Uuid, u64)>, Error> {
        // Without `distinct`, for which Postgres would sort all of the trail: it has no statistics of a table that has
        // partitions.
        let sessions = sqlx::query_scalar!(
            "select session_id from audit where tenant_id = $1 and session_id > $2 order by session_id limit 1000",
            self.tenant.0,
            after,
        );
        let sessions = async |connection: &mut PgConnection| sessions.fetch_all(connection).await;
        let sessions = self.database.statement(Span::none(), sessions).await?;
        let Some(&last) = sessions.last() else { return Ok(None) };
        let remove = sqlx::query!(
            "delete from audit where tenant_id = $1 and session_id > $2 and session_id <= $3",
            self.tenant.0,
            after,
            last,
        );
        let removed =
            self.database.statement(Span::none(), async |connection| remove.execute(connection).await).await?;
        crash_point!("tenant_delete.audit_removed");
        Ok(Some((last, removed.rows_affected())))
    }

    /// Removes the tenant itself, with its printers and shares. Returns false if a job or a share was pushed meanwhile.
    pub async fn remove_tenant(&self) -> Result<bool, Error> {
        // Locked first: a printer that is pushed now waits, and finds no tenant.
        let tenant = self.tenant.0;
        let lock = sqlx::query!("select from tenant where tenant_id = $1 for update", tenant);
        let shares = sqlx::query!("delete from printer_share where tenant_id = $1", tenant);
        let printers = sqlx::query!("delete from printer where tenant_id = $1", tenant);
        let remove = sqlx::query!("delete from tenant where tenant_id = $1", tenant);
        let removed = self.database.transaction(Span::none(), async |transaction| {
            transaction.statement(async |connection| lock.execute(connection).await).await?;
            transaction.statement(async |connection| shares.execute(connection).await).await?;
            transaction.statement(async |connection| printers.execute(connection).await).await?;
            transaction.statement(async |connection| remove.execute(connection).await).await?;
            crash_point!("tenant_delete.catalog_before_commit");
            Ok(())
        });
        let removed: Result<_, Error> = removed.await;
        crash_point!("tenant_delete.committed");
        let Err(error) = removed else { return Ok(true) };
        match error.violated_constraint() {
            Some("print_job_printer_fkey" | "printer_share_printer_fkey") => Ok(false),
            _ => Err(error),
        }
    }

    /// Closes the connection.
    pub async fn close(&self) {
        self.database.close().await;
    }
}
