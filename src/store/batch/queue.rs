//! The operations that wait for a batch, fairly between tenants.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::name::{SessionId, TenantId};

/// Waiting operations, in the order of their arrival within each tenant. A batch takes one of each tenant in turn.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// How many may wait.
    limit: usize,
    length: usize,
    /// The number of the next operation.
    next: u64,
    /// The tenants that have waiting operations; the next one to be served is first.
    turns: VecDeque<TenantId>,
    waiting: HashMap<TenantId, VecDeque<Waiting<T>>>,
}

#[derive(Debug)]
struct Waiting<T> {
    /// The session that the operation changes.
    session: Option<SessionId>,
    number: u64,
    operation: T,
}

/// There is no space for one more operation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<T> Queue<T> {
    /// An empty queue for at most `limit` operations. A tenant has at most half of them.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, length: 0, next: 0, turns: VecDeque::new(), waiting: HashMap::new() }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Adds an operation of a tenant, which changes a session or nothing. Returns its number.
    pub(super) fn push(&mut self, tenant: TenantId, session: Option<SessionId>, operation: T) -> Result<u64, Full> {
        let of_tenant = self.waiting.get(&tenant).map_or(0, VecDeque::len);
        if self.length >= self.limit || of_tenant >= self.limit.div_ceil(2) {
            return Err(Full);
        }
        if of_tenant == 0 {
            self.turns.push_back(tenant);
        }
        let number = self.next;
        self.waiting.entry(tenant).or_default().push_back(Waiting { session, number, operation });
        self.next += 1;
        self.length += 1;
        Ok(number)
    }

    /// Takes the operation with this number out of the queue. `None` if it is in a batch already.
    pub(super) fn remove(&mut self, tenant: TenantId, number: u64) -> Option<T> {
        let line = self.waiting.get_mut(&tenant)?;
        let position = line.iter().position(|waiting| waiting.number == number)?;
        let removed = line.remove(position)?;
        if line.is_empty() {
            self.waiting.remove(&tenant);
            self.turns.retain(|waiting| *waiting != tenant);
        }
        self.length -= 1;
        Some(removed.operation)
    }

    /// Takes up to `size` operations. At most one of them changes a given session: of two changes of one row, a
    /// statement would make only one. The other one stays first in its tenant's line.
    pub(super) fn take(&mut self, size: usize) -> Vec<T> {
        let mut batch = Vec::with_capacity(size.min(self.length));
        let mut changed = HashSet::new();
        // The tenants that have only operations left which must wait for the next batch.
        let mut held_back = Vec::new();
        while batch.len() < size {
            let Some(tenant) = self.turns.pop_front() else { break };
            let Some(line) = self.waiting.get_mut(&tenant) else { continue };
            let next = line.iter().position(|waiting| waiting.session.is_none_or(|session| changed.insert(session)));
            match next.and_then(|next| line.remove(next)) {
                Some(waiting) => batch.push(waiting.operation),
                None => {
                    held_back.push(tenant);
                    continue;
                }
            }
            if line.is_empty() {
                self.waiting.remove(&tenant);
            } else {
                self.turns.push_back(tenant);
            }
        }
        self.length -= batch.len();
        for tenant in held_back.into_iter().rev() {
            self.turns.push_front(tenant);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn tenant(number: u8) -> TenantId {
        TenantId(Uuid::from_u128(number.into()))
    }

    fn session(number: u8) -> SessionId {
        SessionId(Uuid::from_u128(number.into()))
    }

    #[test]
    fn a_batch_takes_one_of_each_tenant_in_turn() {
        let mut queue = Queue::new(100);
        for operation in ["a1", "a2", "a3"] {
            queue.push(tenant(1), None, operation).expect("space");
        }
        queue.push(tenant(2), None, "b1").expect("space");

        assert_eq!(queue.take(2), ["a1", "b1"]);
        assert_eq!(queue.take(9), ["a2", "a3"]);
        assert!(queue.take(9).is_empty());
    }

    #[test]
    fn a_batch_changes_a_session_once() {
        let mut queue = Queue::new(100);
        for (changed, operation) in [(1, "first of 1"), (1, "second of 1"), (2, "first of 2")] {
            queue.push(tenant(1), Some(session(changed)), operation).expect("space");
        }

        assert_eq!(queue.take(9), ["first of 1", "first of 2"]);
        assert_eq!(queue.take(9), ["second of 1"]);
    }

    #[test]
    fn a_tenant_has_at_most_half_of_the_queue() {
        let mut queue = Queue::new(4);
        queue.push(tenant(1), None, 1).expect("space");
        queue.push(tenant(1), None, 2).expect("space");
        assert_eq!(queue.push(tenant(1), None, 3), Err(Full));
        queue.push(tenant(2), None, 4).expect("space");
        queue.push(tenant(3), None, 5).expect("space");
        assert_eq!(queue.push(tenant(4), None, 6), Err(Full));

        assert_eq!(queue.take(1), [1]);
        queue.push(tenant(1), None, 3).expect("space again");
    }

    #[test]
    fn a_removed_operation_is_in_no_batch() {
        let mut queue = Queue::new(4);
        let first = queue.push(tenant(1), None, "first").expect("space");
        let second = queue.push(tenant(1), None, "second").expect("space");
        let only = queue.push(tenant(2), None, "only one of its tenant").expect("space");

        assert_eq!(queue.remove(tenant(1), second), Some("second"));
        assert_eq!(queue.remove(tenant(1), second), None);
        assert_eq!(queue.remove(tenant(2), only), Some("only one of its tenant"));
        queue.push(tenant(2), None, "next one").expect("space");

        assert_eq!(queue.take(9), ["first", "next one"]);
        assert_eq!(queue.remove(tenant(1), first), None);
        queue.push(tenant(1), None, "later").expect("space");
        queue.push(tenant(1), None, "last").expect("the removed ones take no space");
    }

    proptest! {
        /// Whatever is pushed comes out once, in the order of its tenant and session.
        #[test]
        fn nothing_is_lost_or_doubled(
            pushed in prop::collection::vec((0u8..4, 0u8..5), 0..60),
            size in 1usize..8,
        ) {
            let mut queue = Queue::new(1000);
            for (number, (of_tenant, changed)) in pushed.iter().enumerate() {
                // Session 0 stands for an operation that changes none. A session belongs to one tenant.
                let changed = (*changed > 0).then(|| session(of_tenant * 10 + changed));
                queue.push(tenant(*of_tenant), changed, (number, *of_tenant, changed)).expect("space");
            }
            let mut taken = Vec::new();
            loop {
                let batch = queue.take(size);
                if batch.is_empty() {
                    break;
                }
                prop_assert!(batch.len() <= size);
                let sessions: Vec<_> = batch.iter().filter_map(|(_, _, session)| *session).collect();
                prop_assert_eq!(sessions.iter().collect::<HashSet<_>>().len(), sessions.len());
                taken.extend(batch);
            }
            for session in taken.iter().filter_map(|(_, _, session)| *session) {
                let changes = taken.iter().filter(|(_, _, other)| *other == Some(session));
                prop_assert!(changes.map(|(number, ..)| *number).is_sorted());
            }
            let mut numbers: Vec<_> = taken.iter().map(|(number, ..)| *number).collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (0..pushed.len()).collect::<Vec<_>>());
        }
    }
}
