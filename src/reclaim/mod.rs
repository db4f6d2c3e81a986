//! Reclaiming: the bytes of ended sessions are dropped from the object store.
//!
//! The statement that ends a session queues it in the table `reclaim`. Every replica works on the queue: a worker claims a
//! session for the time of a lease, makes a pass over its objects, and settles it. What one replica leaves half done, another
//! one takes over.
//!
//! ```text
//!   end           pass 1        pass 2                  final_time     last pass            purge
//!    |              |             |                         |              |                  |
//! ---+--------------+-------------+-------------------------+--------------+------------------+---> time
//!    |<- at once -->|<SECOND_PASS>|                         |              |                  |
//!    |              |             |                         |<POLL_INTERVAL|                  |
//!    |<-- range timeout + PUT_MARGIN: a writer may be left->|              |                  |
//!    |<-- the row of `reclaim` ------------------------------------------->|                  |
//!    |<-- the tombstone: as long as that row, and at least as long as --tombstone-retention ->|
//! ```
//!
//! - **Pass 1** drops what is there when the session ends.
//! - **Pass 2** drops what a writer was putting during pass 1, so that the bytes are gone within a second.
//! - **The last pass** is one that begins after `final_time`, when no writer of the session can be left: a range that began
//!   before the end is not put after its range timeout, and a put that was begun appears within `PUT_TIMEOUT`, which is less
//!   than `PUT_MARGIN`. Only this pass removes the row of `reclaim`.
//!
//! A completed session has the last pass only, which drops what failed attempts left behind and keeps what its manifest holds.
//!
//! While a pass runs, the row's `due_time` lies `LEASE` ahead, and no other worker claims the session. A pass gives up after
//! `PASS_TIMEOUT`, which is less than `LEASE`: a slow session never occupies two workers. A pass that fails is retried after a
//! back-off.

mod worker;

use std::time::Duration;

use crate::blobs::PUT_TIMEOUT;

pub use worker::run;

/// How long an object may take to appear after its range has timed out.
const PUT_MARGIN: Duration = Duration::from_secs(60);
const _: () = assert!(PUT_TIMEOUT.as_millis() < PUT_MARGIN.as_millis());

/// How long a worker may be busy with a session before another one takes it over. Short: after a crash in the middle of a
/// pass the bytes stay as long.
pub const LEASE: Duration = Duration::from_secs(5);

/// How long one pass over one session's objects may take. The next pass goes on where this one has stopped.
const PASS_TIMEOUT: Duration = Duration::from_secs(4);
const _: () = assert!(PASS_TIMEOUT.as_millis() < LEASE.as_millis());

/// How soon after the first pass the second follows.
pub const SECOND_PASS: Duration = Duration::from_millis(500);

/// How often the queue is read without being woken: for sessions of other replicas, for second and last passes, and for what
/// was deferred.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const _: () = assert!(POLL_INTERVAL.as_millis() <= SECOND_PASS.as_millis());

/// How many workers drop bytes, a session each, so that a slow one does not hold up the others.
const WORKERS: usize = 8;

/// The time between the first attempts of a pass that fails. It doubles with each of them.
const MIN_BACK_OFF: Duration = Duration::from_millis(250);

/// The longest time between two attempts.
const MAX_BACK_OFF: Duration = Duration::from_secs(5);
const _: () = assert!(MIN_BACK_OFF.as_millis() <= MAX_BACK_OFF.as_millis());

/// How long after a session's end a writer of it can be left.
pub fn writer_grace(range_timeout: Duration) -> Duration {
    range_timeout + PUT_MARGIN
}

/// How long a pass that has failed `attempts` times in a row waits.
fn back_off(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    (MIN_BACK_OFF * 2u32.pow(doublings)).min(MAX_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_its_limit() {
        let milliseconds = [1, 2, 3, 4, 5, 6, 7, u32::MAX].map(|attempts| back_off(attempts).as_millis());
        assert_eq!(milliseconds, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
    }
}
