//! The workers of one replica: one takes the sessions that this replica has ended, the other claims sessions.

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{COLLECT_TIME, POLL_INTERVAL, claims::Claimed, passes::Passes};
use crate::{app_state::AppState, error::Error, repeat::repeat, store::CLAIM_BATCH};

/// Reclaims until `shutdown`. Then finishes the passes over what is claimed: nobody else can claim it before its lease
/// ends.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    let (app, passes) = (&app, &Passes::new(&app));
    let claiming = repeat("claiming sessions whose bytes are to be dropped", || claim(app, passes), || wait(app));
    shutdown.run_until_cancelled(async { tokio::join!(claiming, take_begun(app, passes)) }).await;
    begin(app, passes);
    passes.finish().await;
}

/// Waits until a session is queued and a moment for more, at most for [`POLL_INTERVAL`].
async fn wait(app: &AppState) {
    tokio::select! {
        () = app.claims.wait_for_queued() => sleep(COLLECT_TIME).await,
        () = sleep(POLL_INTERVAL) => {}
    }
}

async fn take_begun(app: &AppState, passes: &Passes) {
    loop {
        app.claims.wait_for_begun().await;
        sleep(COLLECT_TIME).await;
        begin(app, passes);
    }
}

/// Begins the first passes over the sessions that this replica has ended and claimed.
fn begin(app: &AppState, passes: &Passes) {
    let mut begun = app.claims.take_begun();
    while !begun.is_empty() {
        let rest = begun.split_off(begun.len().min(CLAIM_BATCH));
        passes.begin_both(begun);
        begun = rest;
    }
}

/// Claims every session whose next pass may begin, and begins it.
async fn claim(app: &AppState, passes: &Passes) -> Result<(), Error> {
    let hastened = app.claims.take_hastened();
    if !hastened.is_empty() {
        app.store.hasten_reclaims(&hastened).await?;
    }
    loop {
        let Some(mut permits) = app.claims.reserve_many(CLAIM_BATCH).await else { return Ok(()) };
        let reclaims = app.store.claim_reclaims().await?;
        // What this database records must be true of its own store.
        if let Some(identity) = reclaims.first().and_then(|reclaim| reclaim.object_store) {
            app.blobs.expect(identity);
        }
        let is_last = reclaims.len() < CLAIM_BATCH;
        let claimed = reclaims.into_iter().filter_map(|reclaim| Some(Claimed::new(reclaim, permits.split(1)?)));
        // What is to be kept may have changed since it was read: if a job is deleted at this moment, the second pass
        // reads it again.
        let (new, others): (Vec<_>, Vec<_>) =
            claimed.partition(|claimed| claimed.reclaim.is_new && claimed.reclaim.keep.is_empty());
        passes.begin_both(new);
        passes.begin_one(others);
        if is_last {
            return Ok(());
        }
    }
}
