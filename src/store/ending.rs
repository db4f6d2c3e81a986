//! A session ends: cancelled by its owner, or because its time has passed. Each is one statement, which also queues the
//! bytes for reclaiming and writes the audit trail.

use super::{Store, interval};
use crate::{
    name::SessionId,
    session::{Ended, OwnedSession, State},
};

/// What came of deleting a session.
#[derive(Debug, PartialEq, Eq)]
pub enum Cancel {
    /// It has ended now: its writers are to be told.
    EndedNow(Ended),
    /// It was canceled or expired before.
    EndedBefore,
    /// It is completed: there is nothing left to cancel.
    Completed,
}

impl Store {
    /// Cancels the session: the mission. One statement ends it, queues its bytes for reclaiming and says who did it.
    pub async fn cancel(&self, owned: &OwnedSession, request_id: &str) -> Result<Cancel, sqlx::Error> {
        let ended = sqlx::query_scalar!(
            "with ended as (
                 update upload_session
                 set state      = case when expire_time > now() then 'canceled' else 'expired' end,
                     end_time   = least(now(), expire_time),
                     ended_by   = case when expire_time > now() then $3 end,
                     end_reason = case when expire_time > now() then 'deleted' else 'expired' end
                 where tenant_id = $1 and session_id = $2 and state = 'active'
                 returning tenant_id, session_id, document_id, state
             ), queued as (
                 insert into reclaim (tenant_id, session_id, final_time)
                 select tenant_id, session_id, now() + $6 from ended
             ), audited as (
                 insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
                 select tenant_id, session_id, document_id, 'cancel', $3, $4, $5 from ended where state = 'canceled'
                 union all
                 select tenant_id, session_id, document_id, 'expire', null, 'none', null from ended where state = 'expired'
             )
             select state from ended",
            owned.tenant().0,
            owned.id().0,
            owned.owner().to_string(),
            owned.credential().as_str(),
            request_id,
            interval(self.terms.writer_grace),
        )
        .fetch_optional(&self.pool)
        .await?;

        if let Some(state) = ended {
            let ended = if state == "canceled" { Ended::Canceled } else { Ended::Expired };
            return Ok(Cancel::EndedNow(ended));
        }
        // Nothing was changed. A session that is gone altogether was purged, hence canceled or expired before.
        let session = self.upload_session(owned).await?;
        let is_completed = session.is_some_and(|session| session.state == State::Completed);
        Ok(if is_completed { Cancel::Completed } else { Cancel::EndedBefore })
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
        .await?;
        Ok(expired.into_iter().map(SessionId).collect())
    }
}
