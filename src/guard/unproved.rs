//! Ranges whose caller has shown a credential, and not yet that there is a session of theirs. Each has a place already, so
//! how many of them there are of one caller, and of one tenant, is bounded: nobody keeps others out for whom nothing is
//! done. Per replica: fairness, not an invariant.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    name::{SessionId, TenantId},
    session::Caller,
};

/// All of them.
#[derive(Debug)]
pub struct Unproved {
    /// How many places there are in all.
    places: usize,
    /// Never locked across an await.
    holders: Mutex<HashMap<Holder, usize>>,
}

/// Who is behind them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// A tenant: half of the places.
    Tenant(TenantId),
    /// A user or an application: a quarter.
    Caller(Caller),
    /// The holders of one upload URL: a quarter.
    Session(SessionId),
}

/// One of them, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    unproved: Arc<Unproved>,
    holder: Holder,
}

impl Unproved {
    /// None yet, of so many places.
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, holders: Mutex::default() })
    }

    /// One more of this holder's; `None` when there are as many as may be.
    pub(super) fn share(self: &Arc<Self>, holder: Holder) -> Option<Share> {
        let part = if matches!(holder, Holder::Tenant(_)) { 2 } else { 4 };
        let mut holders = self.holders.lock();
        let held = holders.entry(holder.clone()).or_default();
        if *held >= self.places.div_ceil(part) {
            return None;
        }
        *held += 1;
        Some(Share { unproved: Arc::clone(self), holder })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut holders = self.unproved.holders.lock();
        if let Some(held) = holders.get_mut(&self.holder) {
            *held -= 1;
            if *held == 0 {
                holders.remove(&self.holder);
            }
        }
    }
}
