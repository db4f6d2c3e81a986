//! Background work of every replica on rows: end overdue sessions and jobs that nobody uses, delete jobs whose retention
//! has passed, purge tombstones, and keep the tables of the audit trail. Any number of replicas share the work. The bytes
//! of ended sessions are the work of `reclaim`.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    app_state::AppState,
    error::Error,
    repeat::repeat,
    session::End,
    store::{self, JOB_BATCH, MONTHS_AHEAD, PURGE_BATCH},
    telemetry::meters,
};

/// How often overdue sessions are ended. It is not urgent: every caller already sees them as expired.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

/// How often tombstones are purged.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// How often jobs are looked at whose time has come.
const JOB_INTERVAL: Duration = Duration::from_secs(60);

/// How often the tables of the audit trail are looked at. Each is made months ahead.
const AUDIT_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Sweeps until `shutdown`.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    let app = &app;
    let expiring = repeat("expiring sessions", || expire(app), || sleep(EXPIRE_INTERVAL));
    let purging = repeat("purging tombstones", || purge(app), || sleep(PURGE_INTERVAL));
    let jobs = repeat("ending unused jobs and deleting old ones", || sweep_jobs(app), || sleep(JOB_INTERVAL));
    let audit = keep_audit_tables(app);
    shutdown.run_until_cancelled(async { tokio::join!(expiring, purging, jobs, audit) }).await;
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

async fn sweep_jobs(app: &AppState) -> Result<(), Error> {
    loop {
        let swept = app.store.sweep_jobs().await?;
        crash_point!("job_sweep.committed");
        for (reason, jobs) in [("unused", swept.unused), ("canceled", swept.canceled), ("started", swept.started)] {
            metrics::counter!(meters::ENDED_JOBS, "reason" => reason).increment(jobs as u64);
        }
        if swept.canceled + swept.started > 0 {
            app.claims.wake();
        }
        if swept.looked_at < JOB_BATCH {
            return Ok(());
        }
    }
}

/// Not repeated at once after a failure: there are months of time, and a call may wait for each attempt.
async fn keep_audit_tables(app: &AppState) {
    loop {
        if let Err(error) = add_audit_months(app).await {
            tracing::warn!(error = %error, "no table was made for a month of the audit trail; retrying in an hour");
        }
        if let Err(error) = drop_old_audit(app).await {
            tracing::warn!(error = %error, "old rows of the audit trail were not dropped; retrying in an hour");
        }
        sleep(AUDIT_INTERVAL).await;
    }
}

async fn add_audit_months(app: &AppState) -> Result<(), store::Error> {
    if app.store.audit_months_ahead().await? >= MONTHS_AHEAD {
        return Ok(());
    }
    for ahead in 1..=MONTHS_AHEAD {
        app.store.add_audit_month(ahead).await?;
        crash_point!("audit.committed");
    }
    Ok(())
}

async fn drop_old_audit(app: &AppState) -> Result<(), store::Error> {
    while app.store.drop_old_audit().await? {
        crash_point!("audit.committed");
    }
    Ok(())
}
