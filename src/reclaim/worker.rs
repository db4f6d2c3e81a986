//! The workers of one replica.

use std::sync::Arc;

use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{COLLECT_TIME, MAX_PASSES, PASS_TIMEOUT, POLL_INTERVAL, back_off};
use crate::{
    app_state::AppState,
    blobs::Folder,
    error::Error,
    repeat::repeat,
    store::{CLAIM_BATCH, Reclaim},
    telemetry::meters,
};

/// Reclaims until `shutdown`.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    let (app, permits) = (&app, &Arc::new(Semaphore::new(MAX_PASSES)));
    let claiming = repeat("claiming sessions whose bytes are to be dropped", || claim(app, permits), || wait(app));
    shutdown.run_until_cancelled(claiming).await;
}

/// Waits until this replica has ended a session and a moment for more, at most for [`POLL_INTERVAL`].
async fn wait(app: &AppState) {
    tokio::select! {
        () = app.wake_reclaim.notified() => sleep(COLLECT_TIME).await,
        () = sleep(POLL_INTERVAL) => {}
    }
}

/// Claims every session whose next pass may begin, and begins it.
async fn claim(app: &AppState, permits: &Arc<Semaphore>) -> Result<(), Error> {
    loop {
        let batch = Arc::clone(permits).acquire_many_owned(CLAIM_BATCH as u32).await;
        let Ok(mut permits) = batch else { return Ok(()) };
        let claimed = app.store.claim_reclaims().await?;
        let is_last = claimed.len() < CLAIM_BATCH;
        for reclaim in claimed {
            let Some(permit) = permits.split(1) else { break };
            let app = app.clone();
            tokio::spawn(async move {
                // If it is not recorded, the session's lease ends, and another pass follows. Why not, a claim reports.
                if let Err(error) = pass(&app, &reclaim).await {
                    tracing::debug!(upload.id = %reclaim.session.0, error = ?error, "a pass was not recorded");
                }
                drop(permit);
            });
        }
        if is_last {
            return Ok(());
        }
    }
}

/// One pass over one session's objects.
// The name of the span is documented for operators.
#[tracing::instrument(name = "sweeper.reclaim", level = "debug", skip_all, fields(upload.id = %reclaim.session.0))]
async fn pass(app: &AppState, reclaim: &Reclaim) -> Result<(), Error> {
    let folder = Folder { tenant: reclaim.tenant, session: reclaim.session };
    // What this database records must be true of its own store.
    if let Some(identity) = reclaim.object_store {
        app.blobs.expect(identity);
    }
    let problem = match timeout(PASS_TIMEOUT, app.blobs.drop_all_except(folder, &reclaim.keep)).await {
        Ok(Ok(())) => {
            metrics::counter!(meters::RECLAIM_PASSES, "result" => "done").increment(1);
            crash_point!("reclaim.passed");
            return Ok(app.store.settle_reclaim(reclaim).await?);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the object store takes too long".into(),
    };
    metrics::counter!(meters::RECLAIM_PASSES, "result" => "failed").increment(1);
    tracing::warn!(upload.id = %reclaim.session.0, error = problem, "bytes of an ended session are still there");
    Ok(app.store.defer_reclaim(reclaim, back_off(reclaim.attempts)).await?)
}
