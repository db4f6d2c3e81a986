//! Creates that count the same things wait for each other here, before they take a connection to the database: they
//! would wait there as well, and take the connections that others need.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as Turn, OwnedMutexGuard},
    time::timeout,
};

use super::{Error, database::ACQUIRE_TIMEOUT};

/// With more keys than this, those that nobody uses are removed first.
const MANY_KEYS: usize = 1024;

/// The turns of one replica, by what is counted.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Never locked across an await.
    turns: Mutex<HashMap<String, Weak<Turn<()>>>>,
}

impl Turns {
    /// Waits until nobody else has the turn for one of the keys. It lasts until it is dropped. All callers must name
    /// keys of the same kinds in the same order.
    pub(super) async fn take(&self, keys: &[&str]) -> Result<Vec<OwnedMutexGuard<()>>, Error> {
        let take = async {
            let mut taken = Vec::with_capacity(keys.len());
            for key in keys {
                taken.push(self.turn(key).lock_owned().await);
            }
            taken
        };
        timeout(ACQUIRE_TIMEOUT, take).await.map_err(|_| Error::TooManyWaiting)
    }

    fn turn(&self, key: &str) -> Arc<Turn<()>> {
        let mut turns = self.turns.lock();
        if let Some(turn) = turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= MANY_KEYS {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::default();
        turns.insert(key.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_has_the_turn_and_others_wait_for_a_while() {
        let turns = Turns::default();
        let first = turns.take(&["ada", "printer"]).await.expect("nobody has it");
        drop(turns.take(&["bob"]).await.expect("another key"));
        assert!(turns.take(&["bob", "printer"]).await.is_err(), "the first has a part of it");
        drop(first);
        turns.take(&["bob", "printer"]).await.expect("it is free again");
    }

    #[tokio::test]
    async fn keys_that_nobody_uses_are_removed() {
        let turns = Turns::default();
        let kept = turns.take(&["kept"]).await.expect("free");
        for key in 0..3 * MANY_KEYS {
            turns.take(&[&key.to_string()]).await.expect("free");
        }
        assert!(turns.turns.lock().len() <= MANY_KEYS);
        drop(kept);
    }
}
