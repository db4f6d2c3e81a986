//! Crash points: the steps at which a test makes the process abort, as a crash would. They exist only with the feature
//! `crash-points`, in the program `print-upload-crashing`. `CRASH_AT` names one point, `name` or `name:N` for the N-th
//! time that it is reached. Nothing is unwound, dropped or flushed.

/// Makes the list of all points, and `crash_point!`, which compiles only with a point of the list.
macro_rules! crash_points {
    ($($point:tt)*) => {
        /// Every crash point.
        pub const POINTS: &[&str] = &[$($point),*];

        macro_rules! crash_point {
            $(($point) => {
                #[cfg(feature = "crash-points")]
                ::fail::fail_point!($point);
            };)*
        }
    };
}

// `before_commit` is inside the transaction. `committed` is after Postgres has answered the commit, or the statement.
crash_points! {
    "folder.checked"
    "identity.put"
    "object_store.adopted"
    "probe.put"

    "create.committed"

    "fragment.begun"
    "fragment.staged"
    "fragment.spooled"
    "fragment.prepared"
    "fragment.renamed"
    "fragment.put"
    "range.committed"
    "document.completed"
    "range.answering"
    "fragment.discarded"
    "fragment.rest_removed"

    "renew.committed"

    "end.executed"
    "cancel.committed"
    "expire.committed"
    "end.notified"
    "end.announced"

    "job_create.committed"
    "job_start.committed"
    "job_cancel.before_commit"
    "job_cancel.committed"
    "job_delete.before_commit"
    "job_delete.freed"
    "job_delete.committed"

    "tenant_upsert.before_commit"
    "tenant_upsert.committed"
    "printer_upsert.before_commit"
    "printer_upsert.committed"
    "share_upsert.before_commit"
    "share_upsert.committed"
    "job_upsert.before_commit"
    "job_upsert.committed"
    "task_upsert.before_commit"
    "task_upsert.committed"

    "reclaim.claimed"
    "reclaim.hastened"
    "reclaim.first_dropped"
    "reclaim.folder_removed"
    "reclaim.passed"
    "reclaim.settled"
    "reclaim.deferred"

    "job_sweep.judged"
    "job_sweep.before_commit"
    "job_sweep.committed"

    "audit_add.before_commit"
    "audit_drop.before_commit"
    "audit.committed"

    "tenant_delete.begun"
    "tenant_delete.jobs_ended"
    "tenant_delete.before_commit"
    "tenant_delete.jobs_deleted"
    "tenant_delete.sessions_removed"
    "tenant_delete.jobs_removed"
    "tenant_delete.audit_removed"
    "tenant_delete.catalog_before_commit"
    "tenant_delete.committed"

    "purge_sessions.committed"
    "purge_jobs.before_commit"
    "purge_jobs.committed"
}

/// Makes the process abort at the point that `CRASH_AT` names. Fails if there is no such point.
#[cfg(feature = "crash-points")]
pub fn arm() -> anyhow::Result<()> {
    use std::sync::atomic::{AtomicU32, Ordering};

    let Ok(crash_at) = std::env::var("CRASH_AT") else { return Ok(()) };
    let (name, times) = crash_at.split_once(':').unwrap_or((&crash_at, "1"));
    let point = POINTS.iter().find(|point| **point == name);
    let point = *point.ok_or_else(|| anyhow::anyhow!("CRASH_AT: there is no crash point {name:?}"))?;
    let times: u32 = times
        .parse()
        .ok()
        .filter(|times| *times > 0)
        .ok_or_else(|| anyhow::anyhow!("CRASH_AT: {times:?} is no number of times from 1 on"))?;
    let reached = AtomicU32::new(0);
    let crash = move || {
        if reached.fetch_add(1, Ordering::Relaxed) + 1 == times {
            eprintln!("crash point: {point}");
            std::process::abort();
        }
    };
    fail::cfg_callback(point, crash).map_err(anyhow::Error::msg)
}
