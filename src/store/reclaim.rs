//! The durable queue of sessions whose bytes are to be dropped.

use std::{collections::HashSet, time::Duration};

use time::OffsetDateTime;
use tracing::{Span, debug_span};
use uuid::Uuid;

use super::{Error, Store, interval};
use crate::name::{SessionId, TenantId};

/// A session whose objects are to be dropped, except those that its manifest holds.
#[derive(Debug, Clone)]
pub struct Reclaim {
    pub tenant: TenantId,
    pub session: SessionId,
    /// The objects to keep: those of a completed session's manifest.
    pub keep: HashSet<Uuid>,
    /// When this pass began.
    begun: OffsetDateTime,
    /// How many passes have begun since the last one that succeeded, this one included.
    pub attempts: u32,
}

impl Store {
    /// Claims the session whose next pass has waited longest. No other worker can claim it before the lease ends.
    pub async fn claim_reclaim(&self) -> Result<Option<Reclaim>, Error> {
        let query = sqlx::query!(
            r#"
            with next as (
                select tenant_id, session_id from reclaim
                where due_time <= now() order by due_time limit 1 for update skip locked
            ), claimed as (
                update reclaim r set due_time = now() + $1, attempts = attempts + 1
                from next where (r.tenant_id, r.session_id) = (next.tenant_id, next.session_id)
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
            interval(self.terms.reclaim_lease),
        );
        let row =
            self.database.statement(Span::none(), async |connection| query.fetch_optional(connection).await).await?;
        Ok(row.map(|row| {
            crash_point!("reclaim.claimed");
            Reclaim {
                tenant: TenantId(row.tenant_id),
                session: SessionId(row.session_id),
                keep: row.keep.into_iter().collect(),
                begun: row.begun,
                attempts: row.attempts.unsigned_abs(),
            }
        }))
    }

    /// Records that a pass succeeded. If it began when no writer of the session could be left, it was the last one, and
    /// the session leaves the queue.
    pub async fn settle_reclaim(&self, reclaim: &Reclaim) -> Result<(), Error> {
        let query = sqlx::query!(
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
            interval(self.terms.second_pass),
        );
        let span = debug_span!("store.settle_reclaim");
        self.database.statement(span, async |connection| query.execute(connection).await).await?;
        crash_point!("reclaim.settled");
        Ok(())
    }

    /// Records that a pass failed. The next one may begin after `back_off`.
    pub async fn defer_reclaim(&self, reclaim: &Reclaim, back_off: Duration) -> Result<(), Error> {
        let query = sqlx::query!(
            "update reclaim set due_time = now() + $3 where tenant_id = $1 and session_id = $2",
            reclaim.tenant.0,
            reclaim.session.0,
            interval(back_off),
        );
        let span = debug_span!("store.defer_reclaim");
        self.database.statement(span, async |connection| query.execute(connection).await).await?;
        crash_point!("reclaim.deferred");
        Ok(())
    }
}
