//! A session ends: cancelled, or because its time has passed. Each is one statement, which also queues the bytes for
//! reclaiming and writes the audit trail.
//!
//! Whether a session is due is asked of the clock at the row itself, not of `now()`, the transaction's start: a statement
//! that had to wait must not change a session that others have seen expired in the meantime.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::{InTime, Store, interval};
use crate::{
    name::{SessionId, TenantId},
    session::{Ended, OwnedSession, Principal, State},
};

/// What came of deleting a session.
#[derive(Debug, PartialEq, Eq)]
pub enum Cancel {
    /// It has ended now: its writers are to be told.
    EndedNow(Ended),
    /// It had ended before. Its writers may not have been told: whoever ended it may have lost the answer.
    EndedBefore(Ended),
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
    /// Cancels the session: the mission. A session whose time has passed expires instead.
    pub async fn cancel(&self, owned: &OwnedSession, request_id: &str) -> Result<Cancel, sqlx::Error> {
        let canceler = Canceler {
            principal: owned.owner(),
            credential: owned.credential().as_str(),
            request_id,
            reason: "deleted",
        };
        if self.cancel_session(&self.pool, owned.tenant(), owned.id(), canceler).await? {
            return Ok(Cancel::EndedNow(Ended::Canceled));
        }
        if self.expire_session(&self.pool, owned.tenant(), owned.id()).await? {
            return Ok(Cancel::EndedNow(Ended::Expired));
        }
        // Nothing was changed. A session that is gone altogether was purged, hence canceled or expired before.
        Ok(match self.upload_session(owned).await?.map(|session| session.state) {
            Some(State::Completed) => Cancel::Completed,
            Some(State::Expired) => Cancel::EndedBefore(Ended::Expired),
            _ => Cancel::EndedBefore(Ended::Canceled),
        })
    }

    /// Which of these sessions have ended without being completed, due ones included.
    pub async fn ended_of(&self, sessions: &[(TenantId, SessionId)]) -> Result<Vec<(SessionId, Ended)>, sqlx::Error> {
        let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) = sessions.iter().map(|(tenant, id)| (tenant.0, id.0)).unzip();
        let rows = sqlx::query!(
            r#"
            select session_id as "session_id!", state = 'canceled' as "canceled!"
            from unnest($1::uuid[], $2::uuid[]) as asked (tenant_id, session_id)
            join upload_session using (tenant_id, session_id)
            where state in ('canceled', 'expired') or (state = 'active' and expire_time <= now())
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

    /// Cancels a session that is active and not due. Answers whether it has.
    pub(super) async fn cancel_session(
        &self,
        executor: impl PgExecutor<'_>,
        tenant: TenantId,
        session: SessionId,
        canceler: Canceler<'_>,
    ) -> Result<bool, sqlx::Error> {
        let canceled = sqlx::query_scalar!(
            "with ended as (
                 update upload_session
                 set state = 'canceled', end_time = now(), ended_by = $3, end_reason = $7
                 where tenant_id = $1 and session_id = $2 and state = 'active' and expire_time > clock_timestamp()
                 returning tenant_id, session_id, document_id
             ), queued as (
                 insert into reclaim (tenant_id, session_id, final_time)
                 select tenant_id, session_id, now() + $6 from ended
             ), audited as (
                 insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
                 select tenant_id, session_id, document_id, 'cancel', $3, $4, $5 from ended
             )
             select session_id from ended",
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
        Ok(canceled.is_some())
    }

    /// Ends a session that is active and due. Answers whether it has.
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
