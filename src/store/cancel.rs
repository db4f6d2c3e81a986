//! Cancels sessions for their owners, many at once.

use sqlx::PgConnection;
use tracing::{Span, debug_span};

use super::{
    Error, Store, Terms,
    batch::{Answer, Operation, member},
    database::Database,
    ending::{Canceler, columns, end_locked_sessions, end_session},
    interval,
};
use crate::{
    name::{SessionId, TenantId},
    session::{End, OwnedSession},
};

/// The result of canceling a session.
#[derive(Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// This call has ended it.
    Ended(End),
    /// It had ended before. Its writers must be notified all the same, and its bytes dropped: the replica that ended it
    /// may have lost the answer of the database.
    EndedBefore(End),
    /// It is completed: there is nothing left to cancel.
    Completed,
}

impl Store {
    /// Cancels the session. An overdue session expires instead. If `claim`, and this call ends the session, it is also
    /// claimed: the caller makes the first passes over its bytes.
    pub async fn cancel(&self, owned: &OwnedSession, request_id: &str, claim: bool) -> Result<CancelOutcome, Error> {
        let cancel = Cancel { owned: owned.clone(), request_id: request_id.to_owned(), claim };
        let outcome = self.batchers.cancel.answer(debug_span!("store.cancel"), cancel).await;
        crash_point!("cancel.committed");
        outcome
    }
}

/// Cancels a session for its owner.
#[derive(Debug, Clone)]
pub(super) struct Cancel {
    owned: OwnedSession,
    request_id: String,
    claim: bool,
}

impl Operation for Cancel {
    type Answer = CancelOutcome;
    // A second cancel finds the session ended.
    const IS_REPEATABLE: bool = true;

    fn tenant(&self) -> TenantId {
        self.owned.tenant()
    }

    fn changes(&self) -> Option<SessionId> {
        Some(self.owned.id())
    }

    async fn run_batch(
        connection: &mut PgConnection,
        terms: &Terms,
        batch: &[Self],
    ) -> Result<Vec<Option<Answer<Self>>>, sqlx::Error> {
        let sessions: Vec<_> = batch.iter().map(|cancel| (cancel.owned.tenant(), cancel.owned.id())).collect();
        let (tenants, ids) = columns(&sessions);
        let text = |column: fn(&Self) -> String| batch.iter().map(column).collect::<Vec<_>>();
        let query = end_locked_sessions!(
            "
                select s.*, asked.actor, asked.credential, asked.request_id, 'deleted' as reason,
                       case when claim then $8::interval end as lease
                from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::boolean[])
                     as asked (tenant_id, session_id, actor, credential, request_id, claim)
                cross join lateral (
                    select tenant_id, session_id, expire_time from upload_session s
                    where (s.tenant_id, s.session_id) = (asked.tenant_id, asked.session_id) and state = 'active'
                    for no key update skip locked
                ) s",
            r#" select member as "member!", e.is_overdue as "is_overdue?", s.state as "state?"
            from unnest($2::uuid[], $3::uuid[]) with ordinality as asked (tenant_id, session_id, member)
            left join ended e using (tenant_id, session_id)
            -- The state when the statement began, of a session that it has not ended. An end is for ever.
            left join lateral (
                select state from upload_session u
                where (u.tenant_id, u.session_id) = (asked.tenant_id, asked.session_id) and e.session_id is null
                offset 0
            ) s on true"#,
            interval(terms.writer_grace),
            &tenants,
            &ids,
            &text(|cancel| cancel.owned.owner().to_string()),
            &text(|cancel| cancel.owned.credential().as_str().to_owned()),
            &text(|cancel| cancel.request_id.clone()),
            &batch.iter().map(|cancel| cancel.claim).collect::<Vec<_>>(),
            interval(terms.reclaim_lease),
        );
        let rows = query.fetch_all(connection).await?;
        crash_point!("end.executed");
        let mut answers: Vec<_> = batch.iter().map(|_| None).collect();
        for row in rows {
            let (_, answer) = member(batch, &mut answers, row.member);
            *answer = match (row.is_overdue, row.state.as_deref()) {
                (Some(true), _) => Some(Ok(CancelOutcome::Ended(End::Expired))),
                (Some(false), _) => Some(Ok(CancelOutcome::Ended(End::Canceled))),
                (None, state) => outcome_of_ended(state).map(Ok),
            };
        }
        Ok(answers)
    }

    async fn run_alone(self, database: &Database, terms: &Terms) -> Answer<Self> {
        let canceler = Canceler {
            principal: self.owned.owner(),
            credential: self.owned.credential().as_str(),
            request_id: &self.request_id,
            reason: "deleted",
            lease: self.claim.then_some(terms.reclaim_lease),
        };
        let (tenant, id, grace) = (self.owned.tenant(), self.owned.id(), terms.writer_grace);
        let end =
            async |connection: &mut PgConnection| end_session(connection, grace, tenant, id, Some(canceler)).await;
        if let Some(end) = database.statement(Span::current(), end).await? {
            return Ok(CancelOutcome::Ended(end));
        }
        // Nothing was changed: one more read finds out why.
        let query = sqlx::query_scalar!(
            "select state from upload_session where tenant_id = $1 and session_id = $2",
            tenant.0,
            id.0
        );
        let read = async |connection: &mut PgConnection| query.fetch_optional(connection).await;
        let state = database.statement(Span::current(), read).await?;
        outcome_of_ended(state.as_deref()).ok_or(Error::Impossible("a session that was not active is active again"))
    }
}

/// The outcome for a session that has ended before. `None` if it is active.
fn outcome_of_ended(state: Option<&str>) -> Option<CancelOutcome> {
    match state {
        Some("active") => None,
        Some("completed") => Some(CancelOutcome::Completed),
        Some("expired") => Some(CancelOutcome::EndedBefore(End::Expired)),
        // Without a row, the session was purged: it was canceled or expired before.
        _ => Some(CancelOutcome::EndedBefore(End::Canceled)),
    }
}
