//! Reclaiming: the bytes of ended sessions are dropped from the object store.
//!
//! The statement that ends a session queues it in the table `reclaim`. Every replica works on the queue: it claims
//! sessions for the time of a lease, makes a pass over the objects of each, and records the result. If a replica stops
//! in the middle of a pass, another one repeats the pass.
//!
//! The statement of a cancel also claims the session for the replica that runs it, and the first two passes are recorded
//! together. So a cancel costs two statements in all until its last pass, and each is shared with other cancels.
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
//! - **The last pass** is one that begins after `final_time`, when no writer of the session can be left: a range that
//!   began before the end is not put after its range timeout, and the object of a put that has begun appears within
//!   `PUT_TIMEOUT`, which is less than `PUT_MARGIN`. Only the rename of a local file has no limit. Only this pass
//!   removes the row of `reclaim`.
//!
//! A completed session has the last pass only. It drops what failed attempts left behind, and keeps what the manifest
//! holds. When the session's job is deleted, its manifest is emptied, and it is queued again with all three passes. A
//! completed session has no tombstone: its row lives as long as its job.
//!
//! While a session is claimed, its row's `due_time` lies `LEASE` ahead, and no other worker claims it. A pass gives up
//! after `PASS_TIMEOUT`, and both first passes take less than `LEASE`: a slow session never occupies two workers. A pass
//! that fails is retried after a back-off.
//!
//! The purge of tombstones is in `sweeper.rs`.

mod claims;
mod passes;
mod worker;

use std::time::Duration;

use crate::{blobs::PUT_TIMEOUT, store::CLAIM_BATCH};

pub use claims::Claims;
pub use worker::run;

/// How long an object may take to appear after its range has timed out.
const PUT_MARGIN: Duration = Duration::from_secs(60);
const _: () = assert!(PUT_TIMEOUT.as_millis() < PUT_MARGIN.as_millis());

/// How long a replica may be busy with a session before it may be claimed again. It is short because the bytes stay
/// that long after a crash between the end and the second pass.
pub const LEASE: Duration = Duration::from_secs(5);

/// How long one pass over one session's objects may take. The next pass drops what this one has left.
const PASS_TIMEOUT: Duration = Duration::from_secs(4);
const _: () = assert!(SECOND_PASS.as_millis() + PASS_TIMEOUT.as_millis() < LEASE.as_millis());

/// How soon after the first pass the second follows.
pub const SECOND_PASS: Duration = Duration::from_millis(500);

/// How often a replica reads the queue without being woken: for sessions that other replicas ended, for second and last
/// passes, and for passes that are retried.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const _: () = assert!(POLL_INTERVAL.as_millis() <= SECOND_PASS.as_millis());

/// How long ended sessions are collected before the first pass over them.
const COLLECT_TIME: Duration = Duration::from_millis(5);

/// How many sessions a replica has claimed at once. Most of them only wait for their second pass.
const MAX_CLAIMED: usize = 16_384;
const _: () = assert!(CLAIM_BATCH <= MAX_CLAIMED);

/// How many sessions wait to be hastened.
const MAX_HASTENED: usize = 1024;

/// How many passes a replica makes at once, each over the bytes of one session. A slow session does not delay the
/// others.
const MAX_PASSES: usize = 256;

/// How long a pass waits after it has failed once. The time doubles with each further failure.
const MIN_BACK_OFF: Duration = Duration::from_millis(250);

/// The longest time that a failed pass waits.
const MAX_BACK_OFF: Duration = Duration::from_secs(5);
const _: () = assert!(MIN_BACK_OFF.as_millis() <= MAX_BACK_OFF.as_millis());

/// How long after a session's end one of its writers can still create an object.
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
