//! Background work of every replica on rows: end overdue sessions, and purge tombstones. Any number of replicas share
//! the work. The bytes of ended sessions are the work of `reclaim`.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{app_state::AppState, error::Error, repeat::repeat, session::End, store::PURGE_BATCH, telemetry::meters};

/// How often overdue sessions are ended. It is not urgent: every caller already sees them as expired.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

/// How often tombstones are purged.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// Sweeps until `shutdown`.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    let app = &app;
    let expiring = repeat("expiring sessions", || expire(app), || sleep(EXPIRE_INTERVAL));
    let purging = repeat("purging tombstones", || purge(app), || sleep(PURGE_INTERVAL));
    shutdown.run_until_cancelled(async { tokio::join!(expiring, purging) }).await;
}

async fn expire(app: &AppState) -> Result<(), Error> {
    loop {
        let swept = app.store.expire_overdue().await?;
        metrics::counter!(meters::EXPIRED_SESSIONS).increment(swept.expired.len() as u64);
        for session in swept.expired {
            app.announce_end(session, End::Expired);
        }
        if !swept.has_more {
            return Ok(());
        }
    }
}

async fn purge(app: &AppState) -> Result<(), Error> {
    while app.store.purge_sessions().await? == PURGE_BATCH {}
    while app.store.purge_print_jobs().await? == PURGE_BATCH {}
    crash_point!("purge_jobs.committed");
    Ok(())
}
