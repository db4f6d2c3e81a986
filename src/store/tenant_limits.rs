//! The limits of tenants. They are generous and not exact: see [`crate::quotas::TenantUsage`].

use tokio::time::{Instant, timeout_at};
use tracing::{Span, debug_span};

use super::{Error, Store, database::ACQUIRE_TIMEOUT};
use crate::{
    name::TenantId,
    quotas::{Held, Reached, Verdict},
    session::PermittedDocument,
};

impl Store {
    /// The limit of its tenant that a new session of this size would exceed. No limit refuses an existing session.
    pub(super) async fn tenant_reached(
        &self,
        permitted: &PermittedDocument,
        size_bytes: u64,
    ) -> Result<Option<Reached>, Error> {
        let (tenant, quotas) = (permitted.document().tenant, &self.terms.quotas);
        if !quotas.limits_tenant() {
            return Ok(None);
        }
        let reached = self.judge_tenant(tenant, size_bytes).await?;
        if reached.is_some() && self.current_session(permitted).await?.is_some() {
            return Ok(None);
        }
        Ok(reached)
    }

    async fn judge_tenant(&self, tenant: TenantId, size_bytes: u64) -> Result<Option<Reached>, Error> {
        let quotas = &self.terms.quotas;
        let give_up = Instant::now() + ACQUIRE_TIMEOUT;
        loop {
            // Before the verdict, so that no count ends unnoticed between the two.
            let counted = self.tenant_counted.notified();
            match self.tenant_usage.judge(tenant, quotas, size_bytes, Instant::now().into_std()) {
                Verdict::Allowed => return Ok(None),
                Verdict::Refused(reached) => return Ok(Some(reached)),
                Verdict::CountBeside => {
                    self.count_beside(tenant);
                    return Ok(None);
                }
                Verdict::CountFirst => {
                    let held = self.count_tenant(tenant, debug_span!("store.count_tenant")).await?;
                    return Ok(quotas.tenant_reached(held, size_bytes));
                }
                Verdict::WaitForCount => timeout_at(give_up, counted).await.map_err(|_| Error::TooManyWaiting)?,
            }
        }
    }

    fn count_beside(&self, tenant: TenantId) {
        let store = self.clone();
        tokio::spawn(async move {
            if let Err(error) = store.count_tenant(tenant, Span::none()).await {
                tracing::warn!(%error, tenant.id = %tenant.0, "cannot count what the tenant holds");
            }
        });
    }

    /// Counts what the tenant holds.
    async fn count_tenant(&self, tenant: TenantId, span: Span) -> Result<Held, Error> {
        let query = sqlx::query!(
            r#"
            select count(*) filter (where end_time is null) as "sessions!",
                   least(coalesce(sum(size_bytes) filter (where not is_freed), 0), 9223372036854775807)::bigint
                       as "bytes!"
            from upload_session where tenant_id = $1 and state in ('active', 'completed')
            "#,
            tenant.0,
        );
        let row = self.database.statement(span, async |connection| query.fetch_one(connection).await).await;
        let held = row.map(|row| Held { sessions: number(row.sessions), bytes: number(row.bytes) });
        match &held {
            Ok(held) => self.tenant_usage.counted(tenant, *held, Instant::now().into_std()),
            Err(_) => self.tenant_usage.not_counted(tenant),
        }
        self.tenant_counted.notify_waiters();
        held
    }
}

/// A count of rows, or a sum of sizes.
pub(super) fn number(counted: i64) -> u64 {
    u64::try_from(counted).unwrap_or_default()
}
