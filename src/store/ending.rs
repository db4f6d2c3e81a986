//! Sessions end: they are canceled, or their time has passed. One statement ends them; it also queues their bytes for
//! reclaiming and writes the audit trail.
//!
//! Whether a session is overdue is judged by the clock at the locked row, not by `now()`, the transaction's start: a statement
//! that had to wait must not cancel a session that others have seen expired in the meantime.

use sqlx::PgConnection;
use tracing::{Instrument, Span, debug_span};
use uuid::Uuid;

use super::{Error, Store, corrupt, database::Transaction, interval};
use crate::{
    name::{JobKey, SessionId, TenantId},
    session::{End, OwnedSession, Principal, State},
};

/// What came of deleting a session.
#[derive(Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It has ended, now or before. Its writers must be notified in any case: whoever ended it before may have lost the answer.
    Ended(End),
    /// It is completed: there is nothing left to cancel.
    Completed,
}

/// How many sessions one sweep ends at most, as its statement has it.
pub const EXPIRE_BATCH: usize = 64;

/// Who cancels a session, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canceler<'a> {
    pub(super) principal: &'a Principal,
    /// What authorized them, in the stored form.
    pub(super) credential: &'static str,
    pub(super) request_id: &'a str,
    /// Why, in the stored form.
    pub(super) reason: &'static str,
}

/// The statement that ends sessions. `$locked` is a select that locks active ones: `tenant_id`, `session_id` and `expire_time`,
/// with the `actor`, `credential`, `request_id` and `reason` of whoever cancels them. An overdue session expires; another one is
/// canceled, and left alone where there is no actor. `$1` is how long after its end a writer of a session can be left.
///
/// A row is locked first and judged once, as it then is: a range that commits in the meantime can neither slip through nor be
/// ended twice.
macro_rules! end_locked_sessions {
    ($locked:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query!(
            "with locked as (" + $locked + r#"
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
                returning s.tenant_id, s.session_id, s.document_id, s.ended_by, j.time, j.is_overdue, j.credential, j.request_id
            ), queued as (
                insert into reclaim (tenant_id, session_id, final_time)
                select tenant_id, session_id, time + $1 from ended
            ), audited as (
                insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
                select tenant_id, session_id, document_id, case when is_overdue then 'expire' else 'cancel' end, ended_by,
                       case when is_overdue then 'none' else credential end, case when not is_overdue then request_id end
                from ended
            )
            select session_id, is_overdue as "is_overdue!" from ended
            "#,
            $($argument),+
        )
    };
}

impl Store {
    /// Cancels the session. An overdue session expires instead.
    pub async fn cancel(&self, owned: &OwnedSession, request_id: &str) -> Result<CancelOutcome, Error> {
        let canceler = Canceler {
            principal: owned.owner(),
            credential: owned.credential().as_str(),
            request_id,
            reason: "deleted",
        };
        let span = debug_span!("store.cancel");
        let ended = self.database.statement(span.clone(), async |connection| {
            self.end_sessions(connection, &[(owned.tenant(), owned.id())], Some(canceler)).await
        });
        if let [(_, ended)] = ended.await?[..] {
            return Ok(CancelOutcome::Ended(ended));
        }
        // Nothing was changed: one more read shows why.
        match self.upload_session(owned).instrument(span).await?.map(|session| session.state) {
            Some(State::Completed) => Ok(CancelOutcome::Completed),
            Some(State::Expired) => Ok(CancelOutcome::Ended(End::Expired)),
            // One without a row was purged, hence canceled or expired before.
            Some(State::Canceled) | None => Ok(CancelOutcome::Ended(End::Canceled)),
            Some(State::Active) => Err(Error::Impossible("a session that was not active is active again")),
        }
    }

    /// Which of these sessions have ended without being completed. Not those that are merely overdue: a range that is
    /// committing at this moment may still prolong one, and whoever is notified of an end gives up for good.
    pub async fn ends_of(&self, sessions: &[(TenantId, SessionId)]) -> Result<Vec<(SessionId, End)>, Error> {
        let (tenants, ids) = columns(sessions);
        let query = sqlx::query!(
            r#"
            select session_id as "session_id!", state = 'canceled' as "canceled!"
            from unnest($1::uuid[], $2::uuid[]) as asked (tenant_id, session_id)
            join upload_session using (tenant_id, session_id)
            where state in ('canceled', 'expired')
            "#,
            &tenants,
            &ids,
        );
        let rows = self.database.statement(Span::none(), async |connection| query.fetch_all(connection).await).await?;
        let ended = |canceled| if canceled { End::Canceled } else { End::Expired };
        Ok(rows.into_iter().map(|row| (SessionId(row.session_id), ended(row.canceled))).collect())
    }

    /// Ends up to [`EXPIRE_BATCH`] overdue sessions. Returns which.
    pub async fn expire_overdue(&self) -> Result<Vec<SessionId>, Error> {
        // A row that somebody holds in any way is left for the next time: the sweep is only ever late.
        let query = end_locked_sessions!(
            "
                select tenant_id, session_id, expire_time,
                       null as actor, null as credential, null as request_id, null as reason
                from upload_session
                where state = 'active' and expire_time <= now()
                -- A literal: for a parameter Postgres would plan as if it were a tenth of all overdue sessions.
                limit 64 for update skip locked",
            interval(self.terms.writer_grace),
        );
        let rows = self.database.statement(Span::none(), async |connection| query.fetch_all(connection).await).await?;
        Ok(rows.into_iter().map(|row| SessionId(row.session_id)).collect())
    }

    /// Ends those of the sessions that are active: an overdue one expires, another one is canceled, or left alone when there is
    /// no canceler. Waits for whoever holds a row, in the order of `sessions`. Returns which have ended, and how.
    pub(super) async fn end_sessions(
        &self,
        connection: &mut PgConnection,
        sessions: &[(TenantId, SessionId)],
        canceler: Option<Canceler<'_>>,
    ) -> Result<Vec<(SessionId, End)>, sqlx::Error> {
        let (tenants, ids) = columns(sessions);
        let query = end_locked_sessions!(
            "
                select s.*, $4::text as actor, $5::text as credential, $6::text as request_id, $7::text as reason
                from unnest($2::uuid[], $3::uuid[]) as asked (tenant_id, session_id)
                -- Each on its own: a look-up by key, whatever Postgres makes of the array.
                cross join lateral (
                    select tenant_id, session_id, expire_time from upload_session s
                    where (s.tenant_id, s.session_id) = (asked.tenant_id, asked.session_id) and state = 'active'
                    for no key update
                ) s",
            interval(self.terms.writer_grace),
            &tenants,
            &ids,
            canceler.map(|canceler| canceler.principal.to_string()),
            canceler.map(|canceler| canceler.credential),
            canceler.map(|canceler| canceler.request_id),
            canceler.map(|canceler| canceler.reason),
        );
        let ended = |is_overdue| if is_overdue { End::Expired } else { End::Canceled };
        let rows = query.fetch_all(connection).await?;
        Ok(rows.into_iter().map(|row| (SessionId(row.session_id), ended(row.is_overdue))).collect())
    }

    /// Ends the active session of a job. For one who holds the job's lock: no session is created meanwhile. Returns the
    /// latest session that has ended without being completed, now or before: whoever ended it may have lost the answer, and
    /// its writers may not have been notified.
    pub(super) async fn end_session_of_job(
        &self,
        transaction: &mut Transaction,
        tenant: TenantId,
        job: &JobKey,
        canceler: Canceler<'_>,
    ) -> Result<Option<(SessionId, End)>, Error> {
        let latest = sqlx::query!(
            "select session_id, state from upload_session join print_document using (tenant_id, document_id)
             where tenant_id = $1 and printer_id = $2 and job_id = $3
             order by state = 'active' desc, create_time desc limit 1",
            tenant.0,
            job.printer,
            job.job,
        );
        let latest = transaction.statement(async |connection| latest.fetch_optional(connection).await).await?;
        let Some(latest) = latest else { return Ok(None) };
        let session = SessionId(latest.session_id);
        match State::parse(&latest.state) {
            Some(State::Active) => {
                let ended = transaction.statement(async |connection| {
                    self.end_sessions(connection, &[(tenant, session)], Some(canceler)).await
                });
                Ok(ended.await?.pop())
            }
            Some(State::Canceled) => Ok(Some((session, End::Canceled))),
            Some(State::Expired) => Ok(Some((session, End::Expired))),
            Some(State::Completed) => Ok(None),
            None => Err(corrupt("upload_session", "state", session)),
        }
    }
}

fn columns(sessions: &[(TenantId, SessionId)]) -> (Vec<Uuid>, Vec<Uuid>) {
    sessions.iter().map(|(tenant, session)| (tenant.0, session.0)).unzip()
}
