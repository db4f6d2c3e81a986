//! The background work of every replica: end sessions whose time has passed, drop the bytes of ended ones, purge
//! tombstones. Any number of replicas share it; what one leaves half done, another takes up.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{blobs::Folder, error::Error, services::Services, session::Ended, store::Reclaim};

/// How often the sweeper looks for work that nobody has told it of.
const INTERVAL: Duration = Duration::from_millis(500);

/// How often tombstones are purged.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// How many sessions are ended, reclaimed or purged with one statement.
const BATCH: i64 = 64;

/// How many sessions' bytes are dropped at once.
const CONCURRENT_RECLAIMS: usize = 8;

/// Sweeps until `shutdown`.
pub async fn run(services: Services, shutdown: CancellationToken) {
    let mut next_purge = Instant::now();
    let mut is_failing = false;
    loop {
        let swept = sweep(&services, &mut next_purge).await;
        match &swept {
            Err(error) if !is_failing => tracing::warn!(error = ?error, "sweeping failed, and is tried again"),
            Ok(()) if is_failing => tracing::info!("sweeping goes on"),
            _ => {}
        }
        is_failing = swept.is_err();
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = services.reclaim.notified() => {}
            () = sleep(INTERVAL) => {}
        }
    }
}

async fn sweep(services: &Services, next_purge: &mut Instant) -> Result<(), Error> {
    expire(services).await?;
    reclaim(services).await?;
    if Instant::now() >= *next_purge {
        services.store.purge(BATCH).await?;
        *next_purge = Instant::now() + PURGE_INTERVAL;
    }
    Ok(())
}

async fn expire(services: &Services) -> Result<(), Error> {
    loop {
        let expired = services.store.expire_due(BATCH).await?;
        for session in &expired {
            services.writers.tell(*session, Ended::Expired);
        }
        if expired.len() < BATCH as usize {
            return Ok(());
        }
    }
}

async fn reclaim(services: &Services) -> Result<(), Error> {
    loop {
        let claimed = services.store.claim_reclaims(BATCH).await?;
        let count = claimed.len();
        let passes = stream::iter(claimed).map(|reclaim| pass(services, reclaim)).buffer_unordered(CONCURRENT_RECLAIMS);
        for passed in passes.collect::<Vec<_>>().await {
            passed?;
        }
        if count < BATCH as usize {
            return Ok(());
        }
    }
}

/// One pass over one session's objects.
async fn pass(services: &Services, reclaim: Reclaim) -> Result<(), Error> {
    let folder = Folder { tenant: reclaim.tenant, session: reclaim.session };
    match services.blobs.drop_all_except(folder, &reclaim.keep).await {
        Ok(()) => services.store.settle_reclaim(&reclaim).await?,
        Err(error) => {
            tracing::warn!(upload.id = %reclaim.session.0, error = %error, "bytes of an ended session are still there");
            services.store.defer_reclaim(&reclaim).await?;
        }
    }
    Ok(())
}
