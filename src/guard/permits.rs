//! Permits to receive a range. A range takes one before its first byte is read, because the bytes that the connection
//! buffers for it must be bounded as well.
//!
//! At first an [`UnprovenRange`] holds the permit: its caller has presented a valid credential, but has not yet proved
//! to own the session. The number of unproven ranges is limited per caller and per tenant, so that one of them cannot
//! take all permits. The limits are per replica: they are for fairness, and no invariant depends on them. With the
//! proof the range becomes a [`RangePermit`], which lasts as long as the range.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    error::Error,
    name::{SessionId, TenantId},
    session::Caller,
};

/// Every permit of this replica.
#[derive(Debug)]
pub struct RangePermits {
    free: Arc<Semaphore>,
    unproven: Arc<Unproven>,
}

/// How many unproven ranges there are, by holder.
#[derive(Debug)]
struct Unproven {
    /// How many permits this replica has in all.
    permits: usize,
    /// Never locked across an await.
    holders: Mutex<HashMap<Holder, usize>>,
}

/// A group of callers whose unproven ranges are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// A tenant: may have half of the permits.
    Tenant(TenantId),
    /// A user or an application: a quarter.
    Caller(Caller),
    /// The callers with the upload URL of one session: a quarter.
    Session(SessionId),
}

/// A range whose caller has not yet proved to own the session.
#[derive(Debug)]
pub(super) struct UnprovenRange {
    holders: [HolderPermit; 2],
    permit: RangePermit,
}

/// One of the permits that a holder may have for unproven ranges, returned when dropped.
#[derive(Debug)]
struct HolderPermit {
    unproven: Arc<Unproven>,
    holder: Holder,
}

/// A permit to receive one range, returned when its last clone is dropped.
#[derive(Debug, Clone)]
pub struct RangePermit(Arc<OwnedSemaphorePermit>);

impl RangePermits {
    /// Allows at most `permits` ranges at once.
    pub fn new(permits: usize) -> Self {
        let unproven = Unproven { permits, holders: Mutex::default() };
        Self { free: Arc::new(Semaphore::new(permits)), unproven: Arc::new(unproven) }
    }

    /// Takes a permit for a range of these holders. Fails at once when there is none.
    pub(super) fn take(&self, holders: [Holder; 2]) -> Result<UnprovenRange, Error> {
        let [tenant, caller] = holders;
        let holders = [self.unproven.take(tenant)?, self.unproven.take(caller)?];
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| Error::TooManyTransfers)?;
        Ok(UnprovenRange { holders, permit: RangePermit(Arc::new(permit)) })
    }
}

impl Unproven {
    fn take(self: &Arc<Self>, holder: Holder) -> Result<HolderPermit, Error> {
        let part = if matches!(holder, Holder::Tenant(_)) { 2 } else { 4 };
        let mut holders = self.holders.lock();
        let held = holders.entry(holder.clone()).or_default();
        if *held >= self.permits.div_ceil(part) {
            return Err(Error::TooManyTransfers);
        }
        *held += 1;
        Ok(HolderPermit { unproven: Arc::clone(self), holder })
    }
}

impl UnprovenRange {
    /// The caller has proved to own the session: the range is no longer counted as unproven.
    pub(super) fn proven(self) -> RangePermit {
        drop(self.holders);
        self.permit
    }
}

impl RangePermit {
    /// Returns the permit. An explicit call marks the point until which the permit is needed.
    pub fn release(self) {
        drop(self.0);
    }
}

impl Drop for HolderPermit {
    fn drop(&mut self) {
        let mut holders = self.unproven.holders.lock();
        if let Some(held) = holders.get_mut(&self.holder) {
            *held -= 1;
            if *held == 0 {
                holders.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn holders(tenant: u128, session: u128) -> [Holder; 2] {
        [Holder::Tenant(TenantId(Uuid::from_u128(tenant))), Holder::Session(SessionId(Uuid::from_u128(session)))]
    }

    #[test]
    fn one_holder_has_a_quarter_of_the_permits_and_one_tenant_half() {
        let permits = RangePermits::new(8);
        let first = [(); 2].map(|()| permits.take(holders(1, 1)).expect("a quarter"));
        assert!(permits.take(holders(1, 1)).is_err(), "the holder has its quarter");
        let _second = [(); 2].map(|()| permits.take(holders(1, 2)).expect("a quarter"));
        assert!(permits.take(holders(1, 3)).is_err(), "the tenant has its half");
        drop(first);
        assert!(permits.take(holders(1, 3)).is_ok(), "two ranges were refused");
    }

    #[test]
    fn a_proven_range_keeps_only_its_permit() {
        let permits = RangePermits::new(4);
        let proven = [(); 4].map(|()| permits.take(holders(1, 1)).expect("none is unproven").proven());
        assert!(permits.unproven.holders.lock().is_empty());
        assert!(permits.take(holders(2, 2)).is_err(), "every permit is taken");
        assert!(permits.unproven.holders.lock().is_empty(), "a failed take is not counted");
        let [first, _second, _third, _fourth] = proven;
        let clone = first.clone();
        first.release();
        assert_eq!(permits.free.available_permits(), 0, "a clone holds it");
        clone.release();
        assert_eq!(permits.free.available_permits(), 1);
    }
}
