//! The durable queue of sessions whose bytes are to be dropped.

use std::{collections::HashSet, time::Duration};

use time::OffsetDateTime;
use uuid::Uuid;

use super::{InTime, Store, interval};
use crate::name::{SessionId, TenantId};

/// How long a worker may be busy with a session before another one takes it over. Short: after a crash in the middle of a
/// pass the bytes stay as long.
pub const LEASE: Duration = Duration::from_secs(5);

/// How soon after the first pass the second follows: it finds what a writer was putting down during the first.
const SECOND_PASS: Duration = Duration::from_millis(500);

/// The longest time between two attempts of a pass that fails.
const MAX_BACK_OFF: Duration = Duration::from_secs(5);

/// A session whose objects are to be dropped, but for those that its manifest holds.
#[derive(Debug, Clone)]
pub struct Reclaim {
    /// The session's tenant.
    pub tenant: TenantId,
    /// The session.
    pub session: SessionId,
    /// The objects to keep: those of a completed session's manifest.
    pub keep: HashSet<Uuid>,
    /// When this pass began.
    begun: OffsetDateTime,
    /// How many passes have begun since the last one that went through.
    attempts: i32,
}

impl Store {
    /// Takes the session that is due longest for a pass; no other worker gets it while the lease holds.
    pub async fn claim_reclaim(&self) -> Result<Option<Reclaim>, sqlx::Error> {
        let row = sqlx::query!(
            r#"
            with due as (
                select tenant_id, session_id from reclaim
                where due_time <= now() order by due_time limit 1 for update skip locked
            ), claimed as (
                update reclaim r set due_time = now() + $1, attempts = attempts + 1
                from due where (r.tenant_id, r.session_id) = (due.tenant_id, due.session_id)
                returning r.tenant_id, r.session_id, r.attempts
            )
            select tenant_id, session_id, attempts, now() as "begun!",
                   array(
                       select distinct object_id from fragment f
                       where s.state = 'completed' and (f.tenant_id, f.session_id) = (s.tenant_id, s.session_id)
                   ) as "keep!"
            from claimed join upload_session s using (tenant_id, session_id)
            where s.state <> 'active'
            "#,
            interval(LEASE),
        )
        .fetch_optional(&self.pool)
        .in_time()
        .await?;
        Ok(row.map(|row| Reclaim {
            tenant: TenantId(row.tenant_id),
            session: SessionId(row.session_id),
            keep: row.keep.into_iter().collect(),
            begun: row.begun,
            attempts: row.attempts,
        }))
    }

    /// A pass went through. Only one that began when no writer of the session could be left was the last.
    #[tracing::instrument(name = "store.settle_reclaim", level = "debug", skip_all)]
    pub async fn settle_reclaim(&self, reclaim: &Reclaim) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "with done as (
                 delete from reclaim where tenant_id = $1 and session_id = $2 and final_time <= $3
                 returning tenant_id
             )
             update reclaim
             set passes = passes + 1, attempts = 0,
                 due_time = case when passes = 0 then least(now() + $4, final_time) else final_time end
             where tenant_id = $1 and session_id = $2 and not exists (select from done)",
            reclaim.tenant.0,
            reclaim.session.0,
            reclaim.begun,
            interval(SECOND_PASS),
        )
        .execute(&self.pool)
        .in_time()
        .await?;
        Ok(())
    }

    /// A pass failed: it is tried again after a while that grows with every attempt.
    #[tracing::instrument(name = "store.defer_reclaim", level = "debug", skip_all)]
    pub async fn defer_reclaim(&self, reclaim: &Reclaim) -> Result<(), sqlx::Error> {
        let doublings = u32::try_from(reclaim.attempts - 1).unwrap_or_default().min(16);
        let back_off = (Duration::from_millis(250) * 2u32.pow(doublings)).min(MAX_BACK_OFF);
        sqlx::query!(
            "update reclaim set due_time = now() + $3 where tenant_id = $1 and session_id = $2",
            reclaim.tenant.0,
            reclaim.session.0,
            interval(back_off),
        )
        .execute(&self.pool)
        .in_time()
        .await?;
        Ok(())
    }
}
