//! The permits of transfers: those of ranges, and those of downloads. Every transfer needs one from before its first
//! byte until its last work is done, also while it waits for its caller, for Postgres or for the disk.
//!
//! Nobody waits for a permit: who may not have one is refused at once. Each permit counts for its tenant and for its
//! caller for as long as it is held, and this limits how many more each of them gets:
//!
//! - A quarter of the permits is a reserve. It is only for tenants that hold none.
//! - Of the other three quarters, as far as no other tenant holds them, a tenant may hold two thirds, and a caller a
//!   third. While no other tenant holds any, that is half of all permits, and a quarter of them.
//!
//! So a tenant that holds none gets a permit, unless as many other tenants hold permits as there are in the reserve.
//! The limits are per replica: they are for fairness, and no invariant depends on them.

use std::{collections::HashMap, sync::Arc};

use metrics::counter;
use parking_lot::Mutex;

use crate::{
    name::{SessionId, TenantId},
    session::{Caller, Principal},
    telemetry::meters,
};

/// All permits of one kind on this replica. Clones share them.
#[derive(Debug, Clone)]
pub struct Permits(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    kind: Kind,
    /// How many permits there are.
    size: usize,
    /// Whether tenants and callers have limits of their own.
    is_fair: bool,
    /// Never locked across an await.
    held: Mutex<Held>,
}

/// What a permit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Range,
    Download,
}

/// Who holds a permit, within a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A user or an application.
    Principal(Principal),
    /// A caller with the upload URL of a session, until the session's owner is known.
    UploadUrl(SessionId),
}

/// The permits that are held.
#[derive(Debug, Default)]
struct Held {
    total: usize,
    tenants: HashMap<TenantId, HeldByTenant>,
}

#[derive(Debug, Default)]
struct HeldByTenant {
    total: usize,
    holders: HashMap<Holder, usize>,
}

/// A permit for one transfer, returned when dropped.
#[derive(Debug)]
pub struct Permit {
    pool: Arc<Pool>,
    tenant: TenantId,
    holder: Holder,
}

/// No permit was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{limit} has as many transfers as it may have at the moment: {max}")]
pub struct Refused {
    pub limit: Limit,
    /// How many transfers of the kind the limit allows at the moment.
    pub max: usize,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// That of the user or application.
    Caller,
    /// That of its tenant.
    Tenant,
    /// That of all tenants.
    Replica,
}

impl Permits {
    /// Allows at most `size` transfers at once. Unless `is_fair`, a caller may have all of them.
    pub fn new(kind: Kind, size: usize, is_fair: bool) -> Self {
        Self(Arc::new(Pool { kind, size, is_fair, held: Mutex::default() }))
    }

    /// Takes a permit, or is refused at once.
    pub fn take(&self, tenant: TenantId, holder: Holder) -> Result<Permit, Refused> {
        let taken = {
            let mut held = self.0.held.lock();
            self.0.check(&held, tenant, &holder).map(|()| held.add(tenant, &holder))
        };
        taken.inspect_err(|refused| self.0.count(*refused))?;
        Ok(Permit { pool: Arc::clone(&self.0), tenant, holder })
    }

    /// Takes a permit for a caller with an access token.
    pub fn take_for(&self, caller: &Caller) -> Result<Permit, Refused> {
        self.take(caller.tenant, Holder::Principal(caller.principal.clone()))
    }

    /// How many are held.
    pub fn held(&self) -> usize {
        self.0.held.lock().total
    }

    /// What they are for.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }
}

impl Pool {
    fn check(&self, held: &Held, tenant: TenantId, holder: &Holder) -> Result<(), Refused> {
        if held.total >= self.size {
            return Err(Refused { limit: Limit::Replica, max: self.size });
        }
        self.check_caller(held, tenant, holder)?;
        let max = (2 * self.not_held_by_others(held, tenant)).div_ceil(3).max(1);
        if self.is_fair && held.by_tenant(tenant) >= max {
            return Err(Refused { limit: Limit::Tenant, max });
        }
        Ok(())
    }

    fn check_caller(&self, held: &Held, tenant: TenantId, holder: &Holder) -> Result<(), Refused> {
        let max = self.not_held_by_others(held, tenant).div_ceil(3).max(1);
        if self.is_fair && held.by_holder(tenant, holder) >= max {
            return Err(Refused { limit: Limit::Caller, max });
        }
        Ok(())
    }

    /// How many permits no other tenant holds, without the reserve.
    fn not_held_by_others(&self, held: &Held, tenant: TenantId) -> usize {
        let reserve = self.size.div_ceil(4);
        (self.size - held.total + held.by_tenant(tenant)).saturating_sub(reserve)
    }

    fn count(&self, refused: Refused) {
        let (kind, limit) = (self.kind.as_str(), refused.limit.as_str());
        counter!(meters::REFUSED_TRANSFERS, "kind" => kind, "limit" => limit).increment(1);
    }
}

impl Held {
    fn by_tenant(&self, tenant: TenantId) -> usize {
        self.tenants.get(&tenant).map_or(0, |by_tenant| by_tenant.total)
    }

    fn by_holder(&self, tenant: TenantId, holder: &Holder) -> usize {
        self.tenants.get(&tenant).and_then(|by_tenant| by_tenant.holders.get(holder)).copied().unwrap_or_default()
    }

    fn add(&mut self, tenant: TenantId, holder: &Holder) {
        let by_tenant = self.tenants.entry(tenant).or_default();
        *by_tenant.holders.entry(holder.clone()).or_default() += 1;
        by_tenant.total += 1;
        self.total += 1;
    }

    /// Nobody who holds none is remembered.
    fn remove(&mut self, tenant: TenantId, holder: &Holder) {
        let Some(by_tenant) = self.tenants.get_mut(&tenant) else { return };
        let Some(by_holder) = by_tenant.holders.get_mut(holder) else { return };
        *by_holder -= 1;
        by_tenant.total -= 1;
        self.total -= 1;
        if *by_holder == 0 {
            by_tenant.holders.remove(holder);
        }
        if by_tenant.total == 0 {
            self.tenants.remove(&tenant);
        }
    }
}

impl Permit {
    /// From now on the permit counts for the session's owner: a caller with an upload URL acts in the owner's name.
    /// Fails, and returns the permit, if the owner has as many as it may have.
    pub fn counted_for(mut self, owner: &Principal) -> Result<Self, Refused> {
        let owner = Holder::Principal(owner.clone());
        if owner == self.holder {
            return Ok(self);
        }
        let moved = {
            let mut held = self.pool.held.lock();
            self.pool.check_caller(&held, self.tenant, &owner).map(|()| {
                held.remove(self.tenant, &self.holder);
                held.add(self.tenant, &owner);
            })
        };
        moved.inspect_err(|refused| self.pool.count(*refused))?;
        self.holder = owner;
        Ok(self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.held.lock().remove(self.tenant, &self.holder);
    }
}

impl Kind {
    /// Its label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Download => "download",
        }
    }
}

impl Limit {
    /// Its name in errors and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Tenant => "tenant",
            Self::Replica => "replica",
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Caller => "the caller",
            Self::Tenant => "the tenant",
            Self::Replica => "the service",
        })
    }
}

#[cfg(test)]
mod tests;
