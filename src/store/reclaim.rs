//! The durable queue of sessions whose bytes are to be dropped.

use std::{collections::HashSet, time::Duration};

use sqlx::PgConnection;
use time::OffsetDateTime;
use tracing::{Span, debug_span};
use uuid::Uuid;

use super::{
    Error, Store, Terms,
    batch::{Answer, Operation},
    interval,
};
use crate::name::{SessionId, TenantId};

/// How many sessions are claimed at most. The statement has the same number as a literal.
pub const CLAIM_BATCH: usize = 64;

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
    /// The identity of the object store that the database belonged to when this pass began.
    pub object_store: Option<Uuid>,
}

impl Store {
    /// Claims up to [`CLAIM_BATCH`] sessions, those whose next pass has waited longest. No other replica can claim them
    /// before the lease ends.
    pub async fn claim_reclaims(&self) -> Result<Vec<Reclaim>, Error> {
        let query = sqlx::query!(
            r#"
            with next as (
                select tenant_id, session_id from reclaim
                where due_time <= now()
                -- A literal: for a parameter Postgres would plan as if it were a tenth of the queue.
                order by due_time limit 64 for update skip locked
            ), claimed as (
                update reclaim r set due_time = now() + $1, attempts = attempts + 1
                from next where (r.tenant_id, r.session_id) = (next.tenant_id, next.session_id)
                returning r.tenant_id, r.session_id, r.attempts
            )
            select tenant_id, session_id, attempts, now() as "begun!", keep as "keep!",
                   (select store_id from object_store) as "object_store?"
            from claimed cross join lateral (
                select state, case when state = 'completed' then array(
                           select distinct object_id from fragment f
                           where (f.tenant_id, f.session_id) = (s.tenant_id, s.session_id)
                       ) else '{}' end as keep
                from upload_session s
                where (s.tenant_id, s.session_id) = (claimed.tenant_id, claimed.session_id) offset 0
            ) s
            where s.state <> 'active'
            "#,
            interval(self.terms.reclaim_lease),
        );
        let rows = self.database.statement(Span::none(), async |connection| query.fetch_all(connection).await).await?;
        let claimed = rows.into_iter().map(|row| {
            crash_point!("reclaim.claimed");
            Reclaim {
                tenant: TenantId(row.tenant_id),
                session: SessionId(row.session_id),
                keep: row.keep.into_iter().collect(),
                begun: row.begun,
                attempts: row.attempts.unsigned_abs(),
                object_store: row.object_store,
            }
        });
        Ok(claimed.collect())
    }

    /// Records that a pass succeeded. If it began when no writer of the session could be left, it was the last one, and
    /// the session leaves the queue.
    pub async fn settle_reclaim(&self, reclaim: &Reclaim) -> Result<(), Error> {
        let settle = Settle { tenant: reclaim.tenant, session: reclaim.session, begun: reclaim.begun };
        self.batchers.settle.answer(debug_span!("store.settle_reclaim"), settle).await
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

/// Records that a pass over a session succeeded.
#[derive(Debug, Clone)]
pub(super) struct Settle {
    tenant: TenantId,
    session: SessionId,
    begun: OffsetDateTime,
}

impl Operation for Settle {
    type Answer = ();
    // Twice would count two passes: the second one would be left out.
    const IS_REPEATABLE: bool = false;

    fn tenant(&self) -> TenantId {
        self.tenant
    }

    fn changes(&self) -> Option<SessionId> {
        Some(self.session)
    }

    async fn run_batch(
        connection: &mut PgConnection,
        terms: &Terms,
        batch: &[Self],
    ) -> Result<Vec<Option<Answer<Self>>>, sqlx::Error> {
        let tenants: Vec<_> = batch.iter().map(|settle| settle.tenant.0).collect();
        let sessions: Vec<_> = batch.iter().map(|settle| settle.session.0).collect();
        let begun: Vec<_> = batch.iter().map(|settle| settle.begun).collect();
        // A row is locked by a job's deletion only. Then it is skipped, and the pass is made again after its lease.
        let query = sqlx::query!(
            "with passed as materialized (
                 select r.tenant_id, r.session_id, r.final_time <= begun as is_last
                 from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as p (tenant_id, session_id, begun)
                 cross join lateral (
                     select * from reclaim r where (r.tenant_id, r.session_id) = (p.tenant_id, p.session_id)
                     for update skip locked
                 ) r
             ), done as (
                 delete from reclaim r using passed p
                 where (r.tenant_id, r.session_id) = (p.tenant_id, p.session_id) and is_last
             )
             update reclaim r
             set passes = passes + 1, attempts = 0,
                 due_time = case when passes = 0 then least(now() + $4, final_time) else final_time end
             from passed p
             where (r.tenant_id, r.session_id) = (p.tenant_id, p.session_id) and not is_last",
            &tenants,
            &sessions,
            &begun,
            interval(terms.second_pass),
        );
        query.execute(connection).await?;
        crash_point!("reclaim.settled");
        Ok(batch.iter().map(|_| Some(Ok(()))).collect())
    }
}
