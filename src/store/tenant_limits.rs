//! The limits of tenants. They are generous and not exact: see [`crate::quotas::TenantUsage`].

use std::time::Instant;

use tracing::{Span, debug_span};

use super::{Error, Store};
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
        let reached = match self.tenant_usage.judge(tenant, quotas, size_bytes, Instant::now()) {
            Verdict::Allowed => None,
            Verdict::CountBeside => {
                let store = self.clone();
                tokio::spawn(async move {
                    if let Err(error) = store.count_tenant(tenant, Span::none()).await {
                        tracing::warn!(%error, tenant.id = %tenant.0, "cannot count what the tenant holds");
                    }
                });
                None
            }
            Verdict::CountFirst => {
                let held = self.count_tenant(tenant, debug_span!("store.count_tenant")).await?;
                quotas.tenant_reached(held, size_bytes)
            }
            Verdict::Refused(reached) => Some(reached),
        };
        if reached.is_some() && self.current_session(permitted).await?.is_some() {
            return Ok(None);
        }
        Ok(reached)
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
        if row.is_err() {
            self.tenant_usage.not_counted(tenant);
        }
        let row = row?;
        let held = Held { sessions: number(row.sessions), bytes: number(row.bytes) };
        self.tenant_usage.counted(tenant, held, Instant::now());
        Ok(held)
    }
}

/// A count of rows, or a sum of sizes.
pub(super) fn number(counted: i64) -> u64 {
    u64::try_from(counted).unwrap_or_default()
}
