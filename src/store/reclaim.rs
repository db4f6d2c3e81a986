//! The durable queue of sessions whose bytes are to be dropped.

use std::{collections::HashSet, time::Duration};

use sqlx::PgConnection;
use time::OffsetDateTime;
use tracing::{Span, debug_span};
use uuid::Uuid;

use super::{
    Error, Store, Terms,
    batch::{Answer, Operation},
    ending::columns,
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
    /// Whether the two passes that follow an end at once are still to be made.
    pub is_new: bool,
    /// How many passes have begun since the last one that succeeded, this one included.
    pub attempts: u32,
    /// When it was claimed. `None` if the statement that ended it has claimed it: then no pass can be the last.
    claim_time: Option<OffsetDateTime>,
    /// The identity of the object store that the database belonged to when it was claimed. `None` if the database belongs
    /// to none, or if the statement that ended the session has claimed it.
    pub object_store: Option<Uuid>,
}

impl Reclaim {
    /// A session that was canceled or has expired, claimed by the statement that ended it.
    pub fn of_ended(tenant: TenantId, session: SessionId) -> Self {
        Self { tenant, session, keep: HashSet::new(), is_new: true, attempts: 1, claim_time: None, object_store: None }
    }
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
                returning r.tenant_id, r.session_id, r.attempts, passes = 0 and final_time > now() as is_new
            )
            select tenant_id, session_id, attempts, is_new as "is_new!", now() as "claim_time!", keep as "keep!",
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
                is_new: row.is_new,
                attempts: row.attempts.unsigned_abs(),
                claim_time: Some(row.claim_time),
                object_store: row.object_store,
            }
        });
        Ok(claimed.collect())
    }

    /// Records that `passes` over the session succeeded. If they began when no writer of the session could be left, they
    /// were the last ones, and the session leaves the queue.
    pub async fn settle_reclaim(&self, reclaim: &Reclaim, passes: i32) -> Result<(), Error> {
        self.batchers.settle.answer(debug_span!("store.settle_reclaim"), Settle::new(reclaim, passes)).await
    }

    /// Does the same for several sessions.
    pub async fn settle_reclaims<'a>(
        &self,
        reclaims: impl Iterator<Item = &'a Reclaim>,
        passes: i32,
    ) -> Result<(), Error> {
        let settled: Vec<_> = reclaims.map(|reclaim| Settle::new(reclaim, passes)).collect();
        let settle = async |connection: &mut PgConnection| settle(connection, &self.terms, &settled).await;
        self.database.statement(debug_span!("store.settle_reclaims"), settle).await
    }

    /// Lets the first passes over ended sessions begin at once. A replica that ended and claimed one may not know of it,
    /// because the answer of the database was lost.
    pub async fn hasten_reclaims(&self, sessions: &[(TenantId, SessionId)]) -> Result<(), Error> {
        let (tenants, ids) = columns(sessions);
        // A session that was completed waits for its final_time.
        let query = sqlx::query!(
            "update reclaim r set due_time = now()
             from unnest($1::uuid[], $2::uuid[]) as asked (tenant_id, session_id)
             cross join lateral (
                 select r.tenant_id, r.session_id from reclaim r
                 where (r.tenant_id, r.session_id) = (asked.tenant_id, asked.session_id)
                       and passes = 0 and due_time > now() and due_time < final_time
                 for update skip locked
             ) waiting
             where (r.tenant_id, r.session_id) = (waiting.tenant_id, waiting.session_id)",
            &tenants,
            &ids,
        );
        self.database.statement(Span::none(), async |connection| query.execute(connection).await).await?;
        crash_point!("reclaim.hastened");
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

/// Records that passes over a session succeeded.
#[derive(Debug, Clone)]
pub(super) struct Settle {
    tenant: TenantId,
    session: SessionId,
    claim_time: Option<OffsetDateTime>,
    passes: i32,
}

impl Settle {
    fn new(reclaim: &Reclaim, passes: i32) -> Self {
        Self { tenant: reclaim.tenant, session: reclaim.session, claim_time: reclaim.claim_time, passes }
    }
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
        settle(connection, terms, batch).await?;
        Ok(batch.iter().map(|_| Some(Ok(()))).collect())
    }
}

/// A row is locked by a job's deletion only, and for a moment only. That may have queued a completed session again,
/// with another `final_time`: then nothing is recorded, and the passes over the whole session follow.
async fn settle(connection: &mut PgConnection, terms: &Terms, settled: &[Settle]) -> Result<(), sqlx::Error> {
    let tenants: Vec<_> = settled.iter().map(|settle| settle.tenant.0).collect();
    let sessions: Vec<_> = settled.iter().map(|settle| settle.session.0).collect();
    let claim_times: Vec<_> = settled.iter().map(|settle| settle.claim_time).collect();
    let passes: Vec<_> = settled.iter().map(|settle| settle.passes).collect();
    let query = sqlx::query!(
        "with passed as materialized (
             select * from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::integer[])
                           as p (tenant_id, session_id, claim_time, passes)
         ), done as (
             delete from reclaim r using passed p
             where (r.tenant_id, r.session_id) = (p.tenant_id, p.session_id) and final_time <= claim_time
         )
         update reclaim r
         set passes = r.passes + p.passes, attempts = 0,
             due_time = case when r.passes + p.passes < 2 then least(now() + $5, final_time) else final_time end
         from passed p
         where (r.tenant_id, r.session_id) = (p.tenant_id, p.session_id)
               and (claim_time is null or final_time > claim_time)",
        &tenants,
        &sessions,
        &claim_times as &[Option<OffsetDateTime>],
        &passes,
        interval(terms.second_pass),
    );
    query.execute(connection).await?;
    crash_point!("reclaim.settled");
    Ok(())
}
