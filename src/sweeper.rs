//! The background work of every replica: end sessions whose time has passed, drop the bytes of ended ones, purge
//! tombstones. Any number of replicas share it; what one leaves half done, another takes up.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    app_state::AppState,
    blobs::Folder,
    error::Error,
    repeat::repeat,
    session::Ended,
    store::{LEASE, Reclaim},
    telemetry::meters,
};

/// How often sessions whose time has passed are looked for. Nobody waits for it: they count as expired before.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

/// How often bytes to drop are looked for that nobody has told of: those of other replicas' sessions, and what was put off.
const RECLAIM_INTERVAL: Duration = Duration::from_millis(500);

/// How often tombstones are purged.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// How many sessions are ended or purged with one statement.
const BATCH: i64 = 64;

/// How many workers drop bytes, a session each, so that a slow one does not hold up the others.
const RECLAIM_WORKERS: usize = 8;

/// How long one pass over one session's objects may take: less than its lease, or every worker would end up with the same
/// slow session. The next pass goes on where a cut one has stopped.
const PASS_TIMEOUT: Duration = Duration::from_secs(4);
const _: () = assert!(PASS_TIMEOUT.as_secs() < LEASE.as_secs());

/// Sweeps until `shutdown`.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    let app = &app;
    let expiring = repeat("expiring sessions", || expire(app), || sleep(EXPIRE_INTERVAL));
    let purging = repeat("purging tombstones", || purge(app), || sleep(PURGE_INTERVAL));
    let reclaiming = (0..RECLAIM_WORKERS).map(|_| repeat("dropping bytes", || reclaim(app), || told(app)));
    shutdown.run_until_cancelled(async { tokio::join!(expiring, purging, join_all(reclaiming)) }).await;
}

/// Waits until there are bytes to drop, as far as this replica knows.
async fn told(app: &AppState) {
    tokio::select! {
        () = app.wake_sweeper.notified() => {}
        () = sleep(RECLAIM_INTERVAL) => {}
    }
}

async fn expire(app: &AppState) -> Result<(), Error> {
    loop {
        let expired = app.store.expire_due(BATCH).await?;
        metrics::counter!(meters::EXPIRED_SESSIONS).increment(expired.len() as u64);
        for session in &expired {
            app.announce_end(*session, Ended::Expired);
        }
        if expired.len() < BATCH as usize {
            return Ok(());
        }
    }
}

async fn purge(app: &AppState) -> Result<(), Error> {
    while app.store.purge_sessions(BATCH).await? == BATCH as u64 {}
    while app.store.purge_print_jobs(BATCH).await? == BATCH as u64 {}
    Ok(())
}

async fn reclaim(app: &AppState) -> Result<(), Error> {
    while let Some(reclaim) = app.store.claim_reclaim().await? {
        pass(app, reclaim).await?;
    }
    Ok(())
}

/// One pass over one session's objects.
#[tracing::instrument(name = "sweeper.reclaim", level = "debug", skip_all, fields(upload.id = %reclaim.session.0))]
async fn pass(app: &AppState, reclaim: Reclaim) -> Result<(), Error> {
    let folder = Folder { tenant: reclaim.tenant, session: reclaim.session };
    let problem = match timeout(PASS_TIMEOUT, app.blobs.drop_all_except(folder, &reclaim.keep)).await {
        Ok(Ok(())) => {
            metrics::counter!(meters::RECLAIM_PASSES, "result" => "done").increment(1);
            return Ok(app.store.settle_reclaim(&reclaim).await?);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the object store does not answer".into(),
    };
    metrics::counter!(meters::RECLAIM_PASSES, "result" => "failed").increment(1);
    tracing::warn!(upload.id = %reclaim.session.0, error = problem, "bytes of an ended session are still there");
    Ok(app.store.defer_reclaim(&reclaim).await?)
}
