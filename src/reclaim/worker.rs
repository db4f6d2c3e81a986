//! The workers of one replica: one takes the sessions that this replica has ended, the other claims sessions.

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    COLLECT_TIME, POLL_INTERVAL,
    claims::Claimed,
    passes::{first_passes, one_pass},
};
use crate::{app_state::AppState, error::Error, repeat::repeat, store::CLAIM_BATCH};

/// Reclaims until `shutdown`.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    let app = &app;
    let claiming = repeat("claiming sessions whose bytes are to be dropped", || claim(app), || wait(app));
    shutdown.run_until_cancelled(async { tokio::join!(claiming, take_begun(app)) }).await;
}

/// Waits until a session is queued and a moment for more, at most for [`POLL_INTERVAL`].
async fn wait(app: &AppState) {
    tokio::select! {
        () = app.claims.wait_for_queued() => sleep(COLLECT_TIME).await,
        () = sleep(POLL_INTERVAL) => {}
    }
}

/// Begins the first passes over the sessions that this replica has ended and claimed.
async fn take_begun(app: &AppState) {
    loop {
        app.claims.wait_for_begun().await;
        sleep(COLLECT_TIME).await;
        let mut begun = app.claims.take_begun();
        while !begun.is_empty() {
            let rest = begun.split_off(begun.len().min(CLAIM_BATCH));
            tokio::spawn(first_passes(app.clone(), begun));
            begun = rest;
        }
    }
}

/// Claims every session whose next pass may begin, and begins it.
async fn claim(app: &AppState) -> Result<(), Error> {
    let hastened = app.claims.take_hastened();
    if !hastened.is_empty() {
        app.store.hasten_reclaims(&hastened).await?;
    }
    loop {
        let Some(mut permits) = app.claims.reserve_many(CLAIM_BATCH).await else { return Ok(()) };
        let reclaims = app.store.claim_reclaims().await?;
        let is_last = reclaims.len() < CLAIM_BATCH;
        let claimed = reclaims.into_iter().filter_map(|reclaim| Some(Claimed::new(reclaim, permits.split(1)?)));
        let (new, others): (Vec<_>, Vec<_>) = claimed.partition(|claimed| claimed.reclaim.is_new);
        tokio::spawn(first_passes(app.clone(), new));
        tokio::spawn(one_pass(app.clone(), others));
        if is_last {
            return Ok(());
        }
    }
}
