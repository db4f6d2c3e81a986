//! The sessions that this replica works on.

use std::{mem, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::{MAX_CLAIMED, MAX_HASTENED, MAX_PASSES};
use crate::{
    name::{SessionId, TenantId},
    store::Reclaim,
};

/// The sessions that this replica has claimed, and those that it is to claim.
#[derive(Debug)]
pub struct Claims {
    /// One permit for each claimed session.
    claimed: Arc<Semaphore>,
    /// One permit for each pass in progress.
    passes: Semaphore,
    state: Mutex<State>,
    /// Wakes the worker that takes the sessions that this replica has ended and claimed.
    begun: Notify,
    /// Wakes the worker that claims sessions.
    queued: Notify,
}

#[derive(Debug, Default)]
struct State {
    begun: Vec<Claimed>,
    hastened: Vec<(TenantId, SessionId)>,
}

/// A session that this replica has claimed.
#[derive(Debug)]
pub struct Claimed {
    pub(super) reclaim: Reclaim,
    _permit: OwnedSemaphorePermit,
}

impl Claims {
    /// Starts without sessions.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            claimed: Arc::new(Semaphore::new(MAX_CLAIMED)),
            passes: Semaphore::new(MAX_PASSES),
            state: Mutex::default(),
            begun: Notify::new(),
            queued: Notify::new(),
        })
    }

    /// Reserves a place for one more claimed session. `None` while this replica has enough work: then the session is
    /// left to those that have less.
    pub fn reserve(&self) -> Option<OwnedSemaphorePermit> {
        if self.passes.available_permits() == 0 {
            return None;
        }
        Arc::clone(&self.claimed).try_acquire_owned().ok()
    }

    /// Begins the first passes over a session that the statement that ended it has claimed, if it had a reservation.
    /// Otherwise any replica claims it.
    pub fn begin(&self, reclaim: Reclaim, reserved: Option<OwnedSemaphorePermit>) {
        let Some(permit) = reserved else { return self.wake() };
        self.state.lock().begun.push(Claimed { reclaim, _permit: permit });
        self.begun.notify_one();
    }

    /// Lets the first passes begin at once over a session that ended before, if they have not been made.
    pub fn hasten(&self, tenant: TenantId, session: SessionId) {
        let mut state = self.state.lock();
        // Otherwise they begin when the lease ends.
        if state.hastened.len() < MAX_HASTENED {
            state.hastened.push((tenant, session));
        }
        drop(state);
        self.wake();
    }

    /// Wakes the worker that claims sessions.
    pub fn wake(&self) {
        self.queued.notify_one();
    }

    pub(super) async fn wait_for_begun(&self) {
        self.begun.notified().await;
    }

    pub(super) async fn wait_for_queued(&self) {
        self.queued.notified().await;
    }

    /// Takes the sessions that were ended and claimed since the last call.
    pub(super) fn take_begun(&self) -> Vec<Claimed> {
        mem::take(&mut self.state.lock().begun)
    }

    /// Takes the sessions whose first passes are to begin at once.
    pub(super) fn take_hastened(&self) -> Vec<(TenantId, SessionId)> {
        mem::take(&mut self.state.lock().hastened)
    }

    /// Waits until `count` more sessions may be claimed, and a pass may begin.
    pub(super) async fn reserve_many(&self, count: usize) -> Option<OwnedSemaphorePermit> {
        drop(self.begin_pass().await);
        Arc::clone(&self.claimed).acquire_many_owned(u32::try_from(count).ok()?).await.ok()
    }

    /// Waits until one more pass may begin. The permit is held during the pass.
    pub(super) async fn begin_pass(&self) -> Option<SemaphorePermit<'_>> {
        self.passes.acquire().await.ok()
    }
}

impl Claimed {
    pub(super) fn new(reclaim: Reclaim, permit: OwnedSemaphorePermit) -> Self {
        Self { reclaim, _permit: permit }
    }
}
