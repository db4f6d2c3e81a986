//! The options about limits: what tenants may hold.

use clap::Args;

use crate::quotas::Quotas;

/// The limits of tenants.
#[derive(Debug, Clone, Args)]
pub struct QuotaOptions {
    /// Largest number of active upload sessions of a tenant. 0 is no limit. A few more may be created at the same time.
    #[arg(long, env = "LIMIT_TENANT_SESSIONS", default_value_t = 1_000_000)]
    pub limit_tenant_sessions: u64,

    /// Largest number of bytes that are stored for a tenant, with the declared sizes of its active uploads. 0 is no
    /// limit. A few more uploads may be created at the same time.
    #[arg(long, env = "LIMIT_TENANT_BYTES", default_value_t = 100 << 40)]
    pub limit_tenant_bytes: u64,
}

impl QuotaOptions {
    /// The limits of jobs and sessions.
    pub fn quotas(&self) -> Quotas {
        let number = |max: u64| (max > 0).then_some(max);
        Quotas {
            tenant_sessions: number(self.limit_tenant_sessions),
            tenant_bytes: number(self.limit_tenant_bytes),
            ..Quotas::default()
        }
    }
}
