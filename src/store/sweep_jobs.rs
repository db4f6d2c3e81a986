//! Ends jobs that nobody uses, and deletes jobs whose retention has passed: only jobs that were created here and that
//! the catalog has not pushed. Their rows are purged later, as those of all deleted jobs.

use std::time::Duration;

use tracing::Span;

use super::{
    Error, Store,
    database::Transaction,
    free::{FreedBy, JobKeys, free_completed},
    interval,
};

/// How many jobs one sweep looks at. The statement has the same number as a literal.
pub const JOB_BATCH: usize = 64;

/// The longest time between two looks at a job, so that a changed option takes effect.
const LOOK_INTERVAL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The shortest time between two looks at a job of which nothing is due, however short the retentions are: each look
/// writes the job's row.
const SHORTEST_LOOK: Duration = Duration::from_secs(6 * 60 * 60);

/// How long what was created here is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// How long a job may be without an upload.
    pub unused_job: Duration,
    /// How long a canceled job is kept.
    pub canceled_job: Duration,
    /// How long a started job is kept. `None`: for ever.
    pub started_job: Option<Duration>,
    /// How long the audit trail is kept.
    pub audit: Duration,
}

impl Retention {
    /// The time to the next look at a job of which nothing is due before. What could be due that happens from now on is
    /// not missed, unless a retention is shorter than [`SHORTEST_LOOK`]: then the look is that much late at most.
    pub(super) fn look(&self) -> Duration {
        let shortest = self.started_job.unwrap_or(LOOK_INTERVAL).min(self.canceled_job);
        shortest.clamp(SHORTEST_LOOK, LOOK_INTERVAL)
    }

    /// The time to the first look at a new job.
    pub(super) fn first_look(&self) -> Duration {
        self.unused_job.min(self.look())
    }
}

/// The result of a sweep.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SweptJobs {
    pub looked_at: usize,
    /// Canceled, because they were not used.
    pub unused: usize,
    /// Deleted, some time after they were canceled.
    pub canceled: usize,
    /// Deleted, some time after they were started.
    pub started: usize,
}

impl Store {
    /// Looks at up to [`JOB_BATCH`] jobs whose `sweep_time` has come, and ends or deletes those whose time has passed.
    /// A job with an active session stays as it is.
    pub async fn sweep_jobs(&self) -> Result<SweptJobs, Error> {
        let swept = self.database.transaction(Span::none(), async |transaction| {
            let jobs = lock_jobs(transaction).await?;
            let mut swept = SweptJobs { looked_at: jobs.jobs.len(), ..SweptJobs::default() };
            if swept.looked_at == 0 {
                return Ok(swept);
            }
            let deleted = self.judge_jobs(transaction, &jobs, &mut swept).await?;
            if !deleted.jobs.is_empty() {
                free_completed(transaction, self.terms.writer_grace, &deleted, FreedBy::default()).await?;
            }
            crash_point!("job_sweep.before_commit");
            Ok(swept)
        });
        swept.await
    }

    /// Judges jobs that the transaction has locked, in a statement of its own: it sees every session that was created
    /// before the lock, and none is created after it. Returns the jobs that it has deleted.
    async fn judge_jobs(
        &self,
        transaction: &mut Transaction,
        jobs: &JobKeys,
        swept: &mut SweptJobs,
    ) -> Result<JobKeys, Error> {
        let retention = &self.terms.retention;
        let query = sqlx::query!(
            r#"
            with judged as materialized (
                select j.*, is_completed, case
                    -- Pushed by a program that does not know the column.
                    when revision > 0 then 'catalog'
                    when is_active then 'keep'
                    when cancel_time <= now() - $5::interval then 'canceled'
                    when cancel_time is null and start_time <= now() - $6::interval then 'started'
                    when cancel_time is null and start_time is null and not has_session
                         and create_time <= now() - $4::interval then 'unused'
                    else 'keep' end as verdict
                from unnest($1::uuid[], $2::text[], $3::text[]) as asked (tenant_id, printer_id, job_id)
                cross join lateral (
                    select tenant_id, printer_id, job_id, revision, create_time, start_time, cancel_time
                    from print_job p
                    where (p.tenant_id, p.printer_id, p.job_id) = (asked.tenant_id, asked.printer_id, asked.job_id)
                    offset 0
                ) j
                left join lateral (
                    select document_id from print_document d
                    where (d.tenant_id, d.printer_id, d.job_id) = (asked.tenant_id, asked.printer_id, asked.job_id)
                    offset 0
                ) d on true
                cross join lateral (
                    select exists (
                               select from upload_session u
                               where u.tenant_id = asked.tenant_id and u.document_id = d.document_id
                                 and u.state in ('active', 'completed') and u.state = 'active'
                           ) as is_active,
                           exists (
                               select from upload_session u
                               where u.tenant_id = asked.tenant_id and u.document_id = d.document_id
                                 and u.state in ('active', 'completed') and u.state = 'completed'
                           ) as is_completed,
                           exists (
                               select from upload_session u
                               where u.tenant_id = asked.tenant_id and u.document_id = d.document_id
                           ) as has_session
                ) s
            )
            update print_job p
            set is_in_catalog = verdict = 'catalog',
                cancel_time = case when verdict = 'unused' then now() else p.cancel_time end,
                delete_time = case when verdict in ('canceled', 'started') then now() end,
                sweep_time = least(now() + $7::interval, greatest(now() + interval '1 hour', case
                    when verdict = 'unused' then now() + $5
                    when p.cancel_time is not null then p.cancel_time + $5
                    when p.start_time is not null then coalesce(p.start_time + $6, 'infinity')
                    when is_completed then 'infinity'
                    else p.create_time + $4 end))
            from judged j
            where (p.tenant_id, p.printer_id, p.job_id) = (j.tenant_id, j.printer_id, j.job_id)
            returning p.tenant_id, p.printer_id, p.job_id, verdict as "verdict!"
            "#,
            &jobs.tenants,
            &jobs.printers,
            &jobs.jobs,
            interval(retention.unused_job),
            interval(retention.canceled_job),
            retention.started_job.map(interval),
            interval(retention.look()),
        );
        let judged = transaction.statement(async |connection| query.fetch_all(connection).await).await?;
        crash_point!("job_sweep.judged");
        let mut deleted = JobKeys::default();
        for job in judged {
            match job.verdict.as_str() {
                "unused" => swept.unused += 1,
                "canceled" => swept.canceled += 1,
                "started" => swept.started += 1,
                _ => continue,
            }
            if job.verdict != "unused" {
                deleted.push(job.tenant_id, job.printer_id, job.job_id);
            }
        }
        Ok(deleted)
    }
}

/// Locks the jobs at which a sweep looks. One that another transaction has locked is skipped: a create, a cancel, or
/// another sweep.
async fn lock_jobs(transaction: &mut Transaction) -> Result<JobKeys, Error> {
    let query = sqlx::query!(
        "select tenant_id, printer_id, job_id from print_job
         where created_here and not is_in_catalog and delete_time is null and sweep_time <= now()
         -- A literal: for a parameter Postgres would plan as if it were a tenth of all jobs.
         order by sweep_time limit 64 for no key update skip locked",
    );
    let rows = transaction.statement(async |connection| query.fetch_all(connection).await).await?;
    let mut jobs = JobKeys::default();
    for row in rows {
        jobs.push(row.tenant_id, row.printer_id, row.job_id);
    }
    Ok(jobs)
}
