//! The workers of one replica.

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{PASS_TIMEOUT, POLL_INTERVAL, WORKERS, back_off};
use crate::{app_state::AppState, blobs::Folder, error::Error, repeat::repeat, store::Reclaim, telemetry::meters};

/// Reclaims until `shutdown`.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    let app = &app;
    let workers = (0..WORKERS).map(|_| repeat("dropping bytes", || reclaim(app), || wait_for_work(app)));
    shutdown.run_until_cancelled(join_all(workers)).await;
}

/// Waits until this replica has ended a session, at most for [`POLL_INTERVAL`].
async fn wait_for_work(app: &AppState) {
    tokio::select! {
        () = app.wake_reclaim.notified() => {}
        () = sleep(POLL_INTERVAL) => {}
    }
}

/// Makes passes until the queue has no session whose next pass may begin.
async fn reclaim(app: &AppState) -> Result<(), Error> {
    while let Some(reclaim) = app.store.claim_reclaim().await? {
        pass(app, &reclaim).await?;
    }
    Ok(())
}

/// One pass over one session's objects.
// The name of the span is documented for operators.
#[tracing::instrument(name = "sweeper.reclaim", level = "debug", skip_all, fields(upload.id = %reclaim.session.0))]
async fn pass(app: &AppState, reclaim: &Reclaim) -> Result<(), Error> {
    let folder = Folder { tenant: reclaim.tenant, session: reclaim.session };
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
