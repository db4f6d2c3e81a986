//! A session ends: canceled, or because its time has passed. Each is one statement, which also queues the bytes for
//! reclaiming and writes the audit trail.
//!
//! Whether a session is due is asked of the clock at the locked row, not of `now()`, the transaction's start: a statement
//! that had to wait must not change a session that others have seen expired in the meantime. (The sweep may ask `now()`: it
//! can only be late.)

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{InTime, Store, corrupt, interval};
use crate::{
    name::{JobKey, SessionId, TenantId},
    session::{Ended, OwnedSession, Principal, State},
};

/// What came of deleting a session.
#[derive(Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It has ended, now or before. Its writers are to be told in any case: whoever ended it before may have lost the answer.
    Ended(Ended),
    /// It is completed: there is nothing left to cancel.
    Completed,
}

/// Who cancels a session, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canceler<'a> {
    /// Who.
    pub(super) principal: &'a Principal,
    /// What admitted them, in the stored form.
    pub(super) credential: &'static str,
    /// Their request.
    pub(super) request_id: &'a str,
    /// Why, in the stored form.
    pub(super) reason: &'static str,
}

impl Store {
    /// Cancels the session. A session whose time has passed expires instead.
    #[tracing::instrument(name = "store.cancel", level = "debug", skip_all)]
    pub async fn cancel(&self, owned: &OwnedSession, request_id: &str) -> Result<CancelOutcome, sqlx::Error> {
        let canceler = Canceler {
            principal: owned.owner(),
            credential: owned.credential().as_str(),
            request_id,
            reason: "deleted",
        };
        if let Some(ended) = self.end_session(&self.pool, owned.tenant(), owned.id(), canceler).await? {
            return Ok(CancelOutcome::Ended(ended));
        }
        // Nothing was changed: one more read says why.
        match self.upload_session(owned).await?.map(|session| session.state) {
            Some(State::Completed) => Ok(CancelOutcome::Completed),
            Some(State::Expired) => Ok(CancelOutcome::Ended(Ended::Expired)),
            // One that is gone altogether was purged, hence canceled or expired before.
            Some(State::Canceled) | None => Ok(CancelOutcome::Ended(Ended::Canceled)),
            Some(State::Active) => Err(sqlx::Error::Protocol("a session that was not active is active again".into())),
        }
    }

    /// Which of these sessions have ended without being completed. Not those that are merely due: a range that is committing at
    /// this moment may still prolong one, and whoever was told of an end gives up for good.
    pub async fn ended_of(&self, sessions: &[(TenantId, SessionId)]) -> Result<Vec<(SessionId, Ended)>, sqlx::Error> {
        let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) = sessions.iter().map(|(tenant, id)| (tenant.0, id.0)).unzip();
        let rows = sqlx::query!(
            r#"
            select session_id as "session_id!", state = 'canceled' as "canceled!"
            from unnest($1::uuid[], $2::uuid[]) as asked (tenant_id, session_id)
            join upload_session using (tenant_id, session_id)
            where state in ('canceled', 'expired')
            "#,
            &tenants,
            &ids,
        )
        .fetch_all(&self.pool)
        .in_time()
        .await?;
        let ended = |canceled| if canceled { Ended::Canceled } else { Ended::Expired };
        Ok(rows.into_iter().map(|row| (SessionId(row.session_id), ended(row.canceled))).collect())
    }

    /// Ends up to `limit` sessions whose time has passed, and tells which.
    pub async fn expire_due(&self, limit: i64) -> Result<Vec<SessionId>, sqlx::Error> {
        let expired = sqlx::query_scalar!(
            "with due as (
                 select tenant_id, session_id from upload_session
                 where state = 'active' and expire_time <= now()
                 limit $1 for update skip locked
             ), ended as (
                 update upload_session s
                 set state = 'expired', end_time = expire_time, end_reason = 'expired'
                 from due where (s.tenant_id, s.session_id) = (due.tenant_id, due.session_id)
                 returning s.tenant_id, s.session_id, s.document_id
             ), queued as (
                 insert into reclaim (tenant_id, session_id, final_time)
                 select tenant_id, session_id, now() + $2 from ended
             ), audited as (
                 insert into audit (tenant_id, session_id, document_id, action, credential)
                 select tenant_id, session_id, document_id, 'expire', 'none' from ended
             )
             select session_id from ended",
            limit,
            interval(self.terms.writer_grace),
        )
        .fetch_all(&self.pool)
        .in_time()
        .await?;
        Ok(expired.into_iter().map(SessionId).collect())
    }

    /// Ends an active session: one that is not due is canceled, one that is due has expired. Answers which, or nothing when
    /// it was not active.
    ///
    /// The row is locked first and judged once, as it then is: a range that commits in the meantime can neither slip
    /// through nor be ended twice.
    pub(super) async fn end_session(
        &self,
        executor: impl PgExecutor<'_>,
        tenant: TenantId,
        session: SessionId,
        canceler: Canceler<'_>,
    ) -> Result<Option<Ended>, sqlx::Error> {
        let canceled = sqlx::query_scalar!(
            r#"
            with locked as (
                select tenant_id, session_id, expire_time
                from upload_session
                where tenant_id = $1 and session_id = $2 and state = 'active'
                for no key update
            ), live as (
                -- Above the lock: below it Postgres would ask the clock before it waits.
                select tenant_id, session_id, expire_time <= clock_timestamp() as due from locked
            ), ended as (
                update upload_session s
                set state      = case when due then 'expired' else 'canceled' end,
                    end_time   = case when due then expire_time else now() end,
                    ended_by   = case when not due then $3 end,
                    end_reason = case when due then 'expired' else $7 end
                from live where (s.tenant_id, s.session_id) = (live.tenant_id, live.session_id)
                returning s.tenant_id, s.session_id, s.document_id, not due as canceled
            ), queued as (
                insert into reclaim (tenant_id, session_id, final_time)
                select tenant_id, session_id, now() + $6 from ended
            ), audited as (
                insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
                select tenant_id, session_id, document_id, case when canceled then 'cancel' else 'expire' end,
                       case when canceled then $3 end, case when canceled then $4 else 'none' end,
                       case when canceled then $5 end
                from ended
            )
            select canceled as "canceled!" from ended
            "#,
            tenant.0,
            session.0,
            canceler.principal.to_string(),
            canceler.credential,
            canceler.request_id,
            interval(self.terms.writer_grace),
            canceler.reason,
        )
        .fetch_optional(executor)
        .in_time()
        .await?;
        Ok(canceled.map(|canceled| if canceled { Ended::Canceled } else { Ended::Expired }))
    }

    /// Ends the active session of a job. For one who holds the job's lock: no session is created meanwhile. Answers the
    /// latest session that has ended without being completed, now or before: whoever ended it may have lost the answer, and
    /// its writers may not have been told.
    pub(super) async fn end_session_of_job(
        &self,
        connection: &mut PgConnection,
        tenant: TenantId,
        job: &JobKey,
        canceler: Canceler<'_>,
    ) -> Result<Option<(SessionId, Ended)>, sqlx::Error> {
        let latest = sqlx::query!(
            "select session_id, state from upload_session join print_document using (tenant_id, document_id)
             where tenant_id = $1 and printer_id = $2 and job_id = $3
             order by state = 'active' desc, create_time desc limit 1",
            tenant.0,
            job.printer,
            job.job,
        );
        let Some(latest) = latest.fetch_optional(&mut *connection).in_time().await? else { return Ok(None) };
        let session = SessionId(latest.session_id);
        let ended = match State::parse(&latest.state) {
            Some(State::Active) => self.end_session(connection, tenant, session, canceler).await?,
            Some(State::Canceled) => Some(Ended::Canceled),
            Some(State::Expired) => Some(Ended::Expired),
            Some(State::Completed) => None,
            None => return Err(corrupt("upload_session.state")),
        };
        Ok(ended.map(|ended| (session, ended)))
    }

    /// Ends a session that is active and due. Answers whether it has. For one who holds the row's lock.
    pub(super) async fn expire_session(
        &self,
        executor: impl PgExecutor<'_>,
        tenant: TenantId,
        session: SessionId,
    ) -> Result<bool, sqlx::Error> {
        let expired = sqlx::query_scalar!(
            "with ended as (
                 update upload_session
                 set state = 'expired', end_time = expire_time, end_reason = 'expired'
                 where tenant_id = $1 and session_id = $2 and state = 'active' and expire_time <= clock_timestamp()
                 returning tenant_id, session_id, document_id
             ), queued as (
                 insert into reclaim (tenant_id, session_id, final_time)
                 select tenant_id, session_id, now() + $3 from ended
             ), audited as (
                 insert into audit (tenant_id, session_id, document_id, action, credential)
                 select tenant_id, session_id, document_id, 'expire', 'none' from ended
             )
             select session_id from ended",
            tenant.0,
            session.0,
            interval(self.terms.writer_grace),
        )
        .fetch_optional(executor)
        .in_time()
        .await?;
        Ok(expired.is_some())
    }
}
