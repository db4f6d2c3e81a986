//! Ends sessions: cancels them, or expires overdue ones. The statement that ends them also queues their bytes for
//! reclaiming and writes the audit trail.
//!
//! Whether a session is overdue is decided with the clock's time after the row was locked, not with `now()`, which is
//! the transaction's start. While the statement waits for the lock, the session may become overdue, and others may
//! already see it as expired: then it must not be canceled.

use std::time::Duration;

use sqlx::PgConnection;
use tracing::{Instrument, Span, debug_span};
use uuid::Uuid;

use super::{Error, Store, corrupt, database::Transaction, interval};
use crate::{
    name::{JobKey, SessionId, TenantId},
    session::{End, OwnedSession, Principal, State},
};

/// How many sessions one sweep looks at. The statement has the same number as a literal.
const EXPIRE_BATCH: usize = 64;

/// The result of a sweep.
#[derive(Debug)]
pub struct Swept {
    /// The sessions that it has ended.
    pub expired: Vec<SessionId>,
    /// Whether there may be more to look at.
    pub has_more: bool,
}

/// What a session's writers must be notified of.
#[derive(Debug)]
pub struct SessionChange {
    pub session: SessionId,
    /// Whether it was canceled or has expired.
    pub end: Option<End>,
    /// How often its upload URL was renewed.
    pub url_generation: u32,
}

/// Who cancels a session, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canceler<'a> {
    pub(super) principal: &'a Principal,
    /// The kind of credential that authorized the cancel, in the stored form.
    pub(super) credential: &'static str,
    pub(super) request_id: &'a str,
    /// The session's `end_reason`, in the stored form.
    pub(super) reason: &'static str,
    /// How long the session is claimed for this replica's first passes over its bytes. If `None`, it is queued, and any
    /// replica may claim it at once.
    pub(super) lease: Option<Duration>,
}

/// The statement that ends sessions. `$locked` is a select that locks active sessions. It returns their `tenant_id`,
/// `session_id` and `expire_time`, and the canceler's `actor`, `credential`, `request_id`, `reason` and `lease`. An
/// overdue session expires. Any other session is canceled, or stays active if there is no actor. `$1` is
/// [`super::Terms::writer_grace`]. `$result` selects from `ended`, and from the judged sessions.
///
/// A session with a `lease` is queued as if it were claimed: the replica that ends it makes the first passes over its
/// bytes, and needs no statement that claims it.
///
/// A row is locked first, and then judged once, with the contents that it has under the lock. So no range can commit
/// between the judgment and the end, and no session ends twice.
macro_rules! end_locked_sessions {
    ($locked:literal, $result:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query!(
            "with locked as (" + $locked + "
            ), timed as materialized (
                -- Above the lock: below it Postgres would read the clock before it waits.
                select *, clock_timestamp() as time from locked
            ), judged as (
                select *, expire_time <= time as is_overdue from timed
            ), ended as (
                update upload_session s
                set state      = case when is_overdue then 'expired' else 'canceled' end,
                    end_time   = case when is_overdue then j.expire_time else j.time end,
                    ended_by   = case when not is_overdue then j.actor end,
                    end_reason = case when is_overdue then 'expired' else j.reason end
                from judged j
                where (s.tenant_id, s.session_id) = (j.tenant_id, j.session_id) and (is_overdue or j.actor is not null)
                returning s.tenant_id, s.session_id, s.document_id, s.ended_by, j.time, j.is_overdue, j.credential,
                          j.request_id, j.lease
            ), queued as (
                insert into reclaim (tenant_id, session_id, due_time, final_time, attempts)
                select tenant_id, session_id, coalesce(time + lease, now()), time + $1, (lease is not null)::integer
                from ended
            ), audited as (
                insert into audit
                    (audit_time, tenant_id, session_id, document_id, action, actor, credential, request_id)
                select time, tenant_id, session_id, document_id, case when is_overdue then 'expire' else 'cancel' end,
                       ended_by, case when is_overdue then 'none' else credential end,
                       case when not is_overdue then request_id end
                from ended
            )" + $result,
            $($argument),+
        )
    };
}

pub(super) use end_locked_sessions;

impl Store {
    /// Returns those of the sessions that were canceled or have expired, or whose upload URL was renewed. An overdue
    /// session whose row has not ended has no end: a range that is committing may still prolong it, and a writer that
    /// is notified of an end never continues.
    pub async fn changes_of(&self, sessions: &[(TenantId, SessionId)]) -> Result<Vec<SessionChange>, Error> {
        let (tenants, ids) = columns(sessions);
        let query = sqlx::query!(
            r#"
            select session_id as "session_id!", state as "state!", url_generation as "url_generation!"
            from unnest($1::uuid[], $2::uuid[]) as asked (tenant_id, session_id)
            join upload_session using (tenant_id, session_id)
            where state in ('canceled', 'expired') or url_generation > 0
            "#,
            &tenants,
            &ids,
        );
        let rows = self.database.statement(Span::none(), async |connection| query.fetch_all(connection).await).await?;
        let changes = rows.into_iter().map(|row| {
            let session = SessionId(row.session_id);
            let corrupt = |column| corrupt("upload_session", column, session);
            let end = State::parse(&row.state).ok_or_else(|| corrupt("state"))?.end();
            let url_generation = u32::try_from(row.url_generation).map_err(|_| corrupt("url_generation"))?;
            Ok(SessionChange { session, end, url_generation })
        });
        changes.collect()
    }

    /// Ends the session if it is overdue. First waits for a range that is committing, since that may prolong it. Returns
    /// whether this statement has ended it.
    pub async fn expire_if_overdue(&self, owned: &OwnedSession) -> Result<bool, Error> {
        self.expire(owned.tenant(), owned.id()).instrument(debug_span!("store.expire_if_overdue")).await
    }

    /// Ends the session if it is overdue. Returns whether this statement has ended it.
    pub(super) async fn expire(&self, tenant: TenantId, session: SessionId) -> Result<bool, Error> {
        let grace = self.terms.writer_grace;
        let end = async |connection: &mut PgConnection| end_session(connection, grace, tenant, session, None).await;
        Ok(self.database.statement(Span::current(), end).await?.is_some())
    }

    /// Looks at up to `EXPIRE_BATCH` sessions whose `sweep_time` has come, and ends those that are overdue. For the
    /// others, which ranges have prolonged, the next `sweep_time` is their `expire_time`.
    pub async fn expire_overdue(&self) -> Result<Swept, Error> {
        // A row that another transaction has locked is skipped. The next sweep ends it: a late sweep does no harm.
        let query = end_locked_sessions!(
            "
                select tenant_id, session_id, expire_time,
                       null as actor, null as credential, null as request_id, null as reason,
                       null::interval as lease
                from upload_session
                where state = 'active' and sweep_time <= now()
                -- A literal: for a parameter Postgres would plan as if it were a tenth of all sessions.
                order by sweep_time limit 64 for update skip locked",
            r#", prolonged as (
                update upload_session s set sweep_time = s.expire_time
                from judged j
                where (s.tenant_id, s.session_id) = (j.tenant_id, j.session_id) and not j.is_overdue
            )
            select session_id, is_overdue as "is_overdue!" from judged"#,
            interval(self.terms.writer_grace),
        );
        let rows = self.database.statement(Span::none(), async |connection| query.fetch_all(connection).await).await?;
        let looked_at = rows.len();
        let expired = rows.into_iter().filter(|row| row.is_overdue).map(|row| {
            crash_point!("expire.committed");
            SessionId(row.session_id)
        });
        Ok(Swept { expired: expired.collect(), has_more: looked_at == EXPIRE_BATCH })
    }

    /// Ends the active session of a job. The transaction must have locked the job's row, so that no session is created
    /// meanwhile. Returns the job's latest session if it was canceled or has expired, now or before. In both cases its
    /// writers must be notified: a replica that ended it before may have lost the answer of the database.
    pub(super) async fn end_session_of_job(
        &self,
        transaction: &mut Transaction,
        tenant: TenantId,
        job: &JobKey,
        canceler: Canceler<'_>,
    ) -> Result<Option<(SessionId, End)>, Error> {
        // However many sessions the document has had, only the latest of each owner is read.
        let latest = sqlx::query!(
            r#"
            with recursive latest as (
                (select s.tenant_id, s.document_id, owner, session_id, state, create_time
                 from print_document d join upload_session s using (tenant_id, document_id)
                 where d.tenant_id = $1 and printer_id = $2 and job_id = $3
                 order by owner, create_time desc limit 1)
                union all
                select n.* from latest l cross join lateral (
                    select tenant_id, document_id, owner, session_id, state, create_time from upload_session
                    where tenant_id = l.tenant_id and document_id = l.document_id and owner > l.owner
                    order by owner, create_time desc limit 1
                ) n
            )
            select session_id as "session_id!", state as "state!" from latest
            order by state = 'active' desc, create_time desc limit 1
            "#,
            tenant.0,
            job.printer,
            job.job,
        );
        let latest = transaction.statement(async |connection| latest.fetch_optional(connection).await).await?;
        let Some(latest) = latest else { return Ok(None) };
        let session = SessionId(latest.session_id);
        match State::parse(&latest.state) {
            Some(State::Active) => {
                let grace = self.terms.writer_grace;
                let ended = transaction.statement(async |connection| {
                    end_session(connection, grace, tenant, session, Some(canceler)).await
                });
                Ok(ended.await?.map(|end| (session, end)))
            }
            Some(State::Canceled) => Ok(Some((session, End::Canceled))),
            Some(State::Expired) => Ok(Some((session, End::Expired))),
            Some(State::Completed) => Ok(None),
            None => Err(corrupt("upload_session", "state", session)),
        }
    }
}

/// Ends one active session, in the transaction of the connection. Waits for its row. Cancels it, or lets it expire if
/// it is overdue. Without a canceler, a session that is not overdue stays active. Returns how it has ended.
pub(super) async fn end_session(
    connection: &mut PgConnection,
    writer_grace: Duration,
    tenant: TenantId,
    session: SessionId,
    canceler: Option<Canceler<'_>>,
) -> Result<Option<End>, sqlx::Error> {
    let query = end_locked_sessions!(
        "
            select tenant_id, session_id, expire_time,
                   $4::text as actor, $5::text as credential, $6::text as request_id, $7::text as reason,
                   $8::interval as lease
            from upload_session
            where tenant_id = $2 and session_id = $3 and state = 'active'
            for no key update",
        r#" select is_overdue as "is_overdue!" from ended"#,
        interval(writer_grace),
        tenant.0,
        session.0,
        canceler.map(|canceler| canceler.principal.to_string()),
        canceler.map(|canceler| canceler.credential),
        canceler.map(|canceler| canceler.request_id),
        canceler.map(|canceler| canceler.reason),
        canceler.and_then(|canceler| canceler.lease).map(interval),
    );
    let ended = query.fetch_optional(connection).await?;
    crash_point!("end.executed");
    Ok(ended.map(|row| if row.is_overdue { End::Expired } else { End::Canceled }))
}

/// The sessions as two arrays, for `unnest`.
pub(super) fn columns(sessions: &[(TenantId, SessionId)]) -> (Vec<Uuid>, Vec<Uuid>) {
    sessions.iter().map(|(tenant, session)| (tenant.0, session.0)).unzip()
}
