//! Turns to put a range: only so many are put at once, and the others wait. A tenant with many waiting ranges does not
//! hold up the others: a turn that ends goes to the waiting tenant that has the fewest.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::name::TenantId;

/// All turns.
#[derive(Debug)]
pub struct Turns {
    /// Never locked across an await.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// None is free while somebody waits.
    free: usize,
    /// How many turns each tenant has.
    taken: HashMap<TenantId, usize>,
    /// In the order of their arrival.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    tenant: TenantId,
    turn: oneshot::Sender<Turn>,
}

/// Ends when dropped. Then the next one begins.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    tenant: TenantId,
}

impl Turns {
    /// So many at once.
    pub fn new(free: usize) -> Arc<Self> {
        let state = State { free, taken: HashMap::new(), waiting: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Waits for a turn.
    pub async fn take(self: &Arc<Self>, tenant: TenantId) -> Turn {
        let turn = {
            let mut state = self.state.lock();
            if state.free > 0 {
                state.free -= 1;
                *state.taken.entry(tenant).or_default() += 1;
                return Turn { turns: Arc::clone(self), tenant };
            }
            state.forget_who_has_gone();
            let (sender, turn) = oneshot::channel();
            state.waiting.push_back(Waiting { tenant, turn: sender });
            turn
        };
        match turn.await {
            Ok(turn) => turn,
            // Never: whoever still waits is not forgotten.
            Err(_) => std::future::pending().await,
        }
    }
}

impl State {
    /// Ends a tenant's turn. Returns who has the next one.
    fn end(&mut self, of: TenantId) -> Option<Waiting> {
        if let Some(taken) = self.taken.get_mut(&of) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(&of);
            }
        }
        self.forget_who_has_gone();
        let taken = |waiting: &Waiting| self.taken.get(&waiting.tenant).copied().unwrap_or_default();
        let next = self.waiting.iter().enumerate().min_by_key(|(_, waiting)| taken(waiting));
        let next = next.map(|(position, _)| position).and_then(|position| self.waiting.remove(position));
        match &next {
            Some(next) => *self.taken.entry(next.tenant).or_default() += 1,
            None => self.free += 1,
        }
        next
    }

    fn forget_who_has_gone(&mut self) {
        self.waiting.retain(|waiting| !waiting.turn.is_closed());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.turns.state.lock().end(self.tenant);
        if let Some(Waiting { tenant, turn }) = next {
            // If its receiver has gone at this moment, the new turn is dropped, and ends as well.
            drop(turn.send(Self { turns: Arc::clone(&self.turns), tenant }));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::BoxFuture, poll};
    use uuid::Uuid;

    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    /// Begins to wait.
    async fn wait(turns: &Arc<Turns>, of: u128) -> BoxFuture<'static, Turn> {
        let turns = Arc::clone(turns);
        let mut turn = async move { turns.take(tenant(of)).await }.boxed();
        assert!(poll!(&mut turn).is_pending());
        turn
    }

    #[tokio::test]
    async fn the_next_turn_is_that_of_the_tenant_with_the_fewest() {
        let turns = Turns::new(3);
        let [first, second, third] = [turns.take(tenant(1)), turns.take(tenant(1)), turns.take(tenant(1))];
        let (first, second, _third) = (first.await, second.await, third.await);
        let mut again = wait(&turns, 1).await;
        let (other, mut other_again) = (wait(&turns, 2).await, wait(&turns, 2).await);
        let last = wait(&turns, 3).await;

        drop(first);
        let other = other.await;
        drop(second);
        let last = last.await;
        assert!(poll!(&mut again).is_pending() && poll!(&mut other_again).is_pending());

        // Now each tenant has one, and the one that has waited longest is next.
        drop(last);
        let again = again.await;
        drop(other);
        let _other_again = other_again.await;
        drop(again);
        assert_eq!(turns.state.lock().free, 1);
    }

    #[tokio::test]
    async fn who_waits_no_longer_gets_no_turn_and_loses_none() {
        let turns = Turns::new(1);
        let first = turns.take(tenant(1)).await;
        let (gone, second) = (wait(&turns, 2).await, wait(&turns, 3).await);
        drop(gone);
        assert_eq!(turns.state.lock().waiting.len(), 2);
        let last = wait(&turns, 2).await;
        assert_eq!(turns.state.lock().waiting.len(), 2, "who has gone is forgotten");
        drop(first);
        let second = second.await;
        drop(second);
        // It has its turn, but goes before it notices.
        drop(last);
        assert_eq!(turns.state.lock().free, 1);
        assert!(turns.state.lock().taken.is_empty(), "nobody who has none is remembered");
    }
}
