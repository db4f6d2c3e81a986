//! Counts what the printer and the user of a new job or session use, up to their limits, in the transaction that has
//! locked them.

use std::time::Duration;

use super::{Error, NewPrintJob, Store, database::Transaction, interval, tenant_limits::number};
use crate::{
    quotas::{Limit, Quotas, Rolling, Use},
    session::{PermittedDocument, PermittedPrinter, Properties},
};

/// What was counted for a new job.
pub(super) struct JobUses {
    /// An earlier request with the same id has created the job.
    pub(super) is_repeated: bool,
    pub(super) uses: [Option<Use>; 5],
}

/// What was counted for a new session.
pub(super) struct SessionUses {
    /// Whether a session would be created: the job is not canceled, and the document has no session that is active or
    /// completed.
    pub(super) would_create: bool,
    pub(super) uses: [Option<Use>; 4],
}

/// A statement that counts the jobs on a printer that wait for their document, as `waiting`. `$1` is the tenant, `$2`
/// the printer, `$3` how long a job waits, `$4` a job that is not counted. `$select` selects from `waiting`.
macro_rules! with_waiting_jobs {
    ($select:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query!(
            "with waiting as materialized (
                select created_by
                from print_job j cross join lateral (
                    select document_id from print_document d
                    where (d.tenant_id, d.printer_id, d.job_id) = (j.tenant_id, j.printer_id, j.job_id) offset 0
                ) d
                where tenant_id = $1 and printer_id = $2 and created_here
                  and create_time > statement_timestamp() - $3::interval and job_id is distinct from $4::text
                  and cancel_time is null and delete_time is null
                  -- Without an upload yet, or with one that is active.
                  and (exists (
                           select from upload_session s
                           where s.tenant_id = j.tenant_id and s.document_id = d.document_id and s.state = 'active'
                       ) or not exists (
                           select from upload_session s
                           where s.tenant_id = j.tenant_id and s.document_id = d.document_id
                       ))
            )" + $select,
            $($argument),+
        )
    };
}

impl Store {
    /// Counts for a new job.
    pub(super) async fn count_for_job(
        &self,
        transaction: &mut Transaction,
        permitted: &PermittedPrinter,
        new: &NewPrintJob,
        quotas: &Quotas,
    ) -> Result<JobUses, Error> {
        let (printer, creator) = (permitted.printer(), &permitted.caller().principal);
        // Each is counted up to its limit. The time is that of the statement, which has begun under the locks.
        let query = with_waiting_jobs!(
            r#"
            select
                exists (
                    select from print_job
                    where tenant_id = $1 and printer_id = $2 and created_by = $5 and request_id = $6
                ) as "is_repeated!",
                (select count(*) from waiting) as "printer_waiting!",
                (select count(*) from waiting where created_by = $5) as "user_waiting!",
                on_printer.jobs as "printer_jobs!", on_printer.frees_in as "printer_frees_in?",
                of_user.jobs as "user_jobs!", of_user.frees_in as "user_frees_in?",
                of_user_long.jobs as "user_jobs_long!", of_user_long.frees_in as "user_long_frees_in?"
            from (
                select count(*) as jobs,
                       extract(epoch from min(create_time) + $7::interval - statement_timestamp())::float8 as frees_in
                from (
                    select create_time from print_job
                    where tenant_id = $1 and printer_id = $2 and created_here
                      and create_time > statement_timestamp() - $7::interval
                    order by create_time desc limit $8::bigint
                ) latest
            ) on_printer cross join (
                select count(*) as jobs,
                       extract(epoch from min(create_time) + $9::interval - statement_timestamp())::float8 as frees_in
                from (
                    select create_time from print_job
                    where tenant_id = $1 and created_by = $5 and created_here
                      and create_time > statement_timestamp() - $9::interval
                    order by create_time desc limit $10::bigint
                ) latest
            ) of_user cross join (
                select count(*) as jobs,
                       extract(epoch from min(create_time) + $11::interval - statement_timestamp())::float8 as frees_in
                from (
                    select create_time from print_job
                    where tenant_id = $1 and created_by = $5 and created_here
                      and create_time > statement_timestamp() - $11::interval
                    order by create_time desc limit $12::bigint
                ) latest
            ) of_user_long"#,
            printer.tenant.0,
            printer.id,
            interval(self.waiting_time(quotas)),
            None::<String>,
            creator.to_string(),
            new.request_id,
            interval(window(quotas.printer_jobs)),
            most(quotas.printer_jobs),
            interval(window(quotas.user_jobs)),
            most(quotas.user_jobs),
            interval(window(quotas.user_jobs_long)),
            most(quotas.user_jobs_long),
        );
        let row = transaction.statement(async |connection| query.fetch_one(connection).await).await?;
        let rolling = |limit, rolling: Option<Rolling>, used, frees_in| {
            rolling.map(|rolling| Use::rolling(limit, rolling, number(used), 1, wait(frees_in)))
        };
        let held = |limit, max: Option<u64>, used| max.map(|max| Use::held(limit, max, number(used), 1));
        Ok(JobUses {
            is_repeated: row.is_repeated,
            uses: [
                rolling(Limit::UserJobsLong, quotas.user_jobs_long, row.user_jobs_long, row.user_long_frees_in),
                rolling(Limit::UserJobs, quotas.user_jobs, row.user_jobs, row.user_frees_in),
                rolling(Limit::PrinterJobs, quotas.printer_jobs, row.printer_jobs, row.printer_frees_in),
                held(Limit::UserWaitingJobs, quotas.user_waiting_jobs, row.user_waiting),
                held(Limit::PrinterWaitingJobs, quotas.printer_waiting_jobs, row.printer_waiting),
            ],
        })
    }

    /// Counts what the user and the printer of a new session use. `None` if the job is deleted.
    pub(super) async fn count_for_session(
        &self,
        transaction: &mut Transaction,
        permitted: &PermittedDocument,
        properties: &Properties,
        quotas: &Quotas,
    ) -> Result<Option<SessionUses>, Error> {
        let (document, owner) = (permitted.document(), &permitted.caller().principal);
        let query = with_waiting_jobs!(
            r#"
            select
                job.is_open and not exists (
                    select from upload_session
                    where tenant_id = $1 and document_id = $6 and state in ('active', 'completed')
                ) as "would_create!",
                -- Its upload has ended, so that it does not wait now. Any other job was counted when it was created.
                job.is_counted and exists (
                    select from upload_session where tenant_id = $1 and document_id = $6
                ) as "waits_again!",
                (select count(*) from waiting) as "printer_waiting!",
                (select count(*) from waiting where created_by = job.created_by) as "user_waiting!",
                bytes.recent as "bytes!", bytes.frees_in as "frees_in?",
                bytes.long as "bytes_long!", bytes.long_frees_in as "long_frees_in?"
            from (
                select cancel_time is null as is_open, created_by,
                       created_here and create_time > statement_timestamp() - $3::interval as is_counted
                from print_job where tenant_id = $1 and printer_id = $2 and job_id = $4 and delete_time is null
            ) job cross join (
                select least(coalesce(sum(size_bytes) filter (where end_time is null or is_recent), 0),
                             9223372036854775807)::bigint as recent,
                       least(coalesce(sum(size_bytes) filter (where end_time is null or is_long), 0),
                             9223372036854775807)::bigint as long,
                       extract(epoch from min(end_time) filter (where is_recent) + $7::interval - statement_timestamp())
                           ::float8 as frees_in,
                       extract(epoch from min(end_time) filter (where is_long) + $8::interval - statement_timestamp())
                           ::float8 as long_frees_in
                from (
                    select size_bytes, end_time, end_time > statement_timestamp() - $7::interval as is_recent,
                           end_time > statement_timestamp() - $8::interval as is_long
                    from (
                        select size_bytes, end_time from upload_session
                        where tenant_id = $1 and owner = $5 and state in ('active', 'completed') and end_time is null
                        union all
                        select size_bytes, end_time from upload_session
                        where tenant_id = $1 and owner = $5 and state in ('active', 'completed')
                          and end_time > statement_timestamp() - greatest($7::interval, $8)
                    ) session
                ) judged
            ) bytes"#,
            document.tenant.0,
            document.job.printer,
            interval(self.waiting_time(quotas)),
            document.job.job,
            owner.to_string(),
            document.id.0,
            interval(window(quotas.user_bytes)),
            interval(window(quotas.user_bytes_long)),
        );
        let row = transaction.statement(async |connection| query.fetch_optional(connection).await).await?;
        let Some(row) = row else { return Ok(None) };
        let size = properties.size_bytes;
        let rolling = |limit, rolling: Option<Rolling>, used, frees_in| {
            rolling.map(|rolling| Use::rolling(limit, rolling, number(used), size, wait(frees_in)))
        };
        let held = |limit, max: Option<u64>, used| {
            max.filter(|_| row.waits_again).map(|max| Use::held(limit, max, number(used), 1))
        };
        Ok(Some(SessionUses {
            would_create: row.would_create,
            uses: [
                rolling(Limit::UserBytesLong, quotas.user_bytes_long, row.bytes_long, row.long_frees_in),
                rolling(Limit::UserBytes, quotas.user_bytes, row.bytes, row.frees_in),
                held(Limit::UserWaitingJobs, quotas.user_waiting_jobs, row.user_waiting),
                held(Limit::PrinterWaitingJobs, quotas.printer_waiting_jobs, row.printer_waiting),
            ],
        }))
    }

    /// How long a job waits for its document at most. Zero if such jobs have no limit: then none is counted.
    fn waiting_time(&self, quotas: &Quotas) -> Duration {
        if quotas.limits_waiting_jobs() { self.terms.session_lifetime } else { Duration::ZERO }
    }
}

fn window(rolling: Option<Rolling>) -> Duration {
    rolling.map_or(Duration::ZERO, |rolling| rolling.window)
}

/// How many rows are counted at most. More would not change the answer.
fn most(rolling: Option<Rolling>) -> i64 {
    rolling.map_or(0, |rolling| i64::try_from(rolling.max).unwrap_or(i64::MAX))
}

fn wait(seconds: Option<f64>) -> Option<Duration> {
    seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default())
}
