//! What is left when the load has ended.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use super::database::Database;

/// How long the last passes over all sessions may take.
const RECLAIM: Duration = Duration::from_secs(60);

/// Fails unless every session has ended, the queue of bytes empties, the store holds exactly what the manifests of
/// completed sessions name, and the audit trail has one end for each session.
pub(super) async fn check(Database(pool): &Database, bytes: &Path) -> anyhow::Result<()> {
    let active: i64 =
        sqlx::query_scalar("select count(*) from upload_session where state = 'active'").fetch_one(pool).await?;
    ensure!(active == 0, "{active} sessions are still active, although their callers ended them");
    let other_ends: i64 = sqlx::query_scalar(
        "select count(*) from upload_session s
         where array(
             select action from audit a where a.session_id = s.session_id and action <> 'free' order by audit_id
         ) <> array['create', case state when 'completed' then 'complete' when 'canceled' then 'cancel' end]",
    )
    .fetch_one(pool)
    .await?;
    ensure!(other_ends == 0, "the audit trail of {other_ends} sessions has other ends than their rows");

    // As if no writer could be left: in the first ten minutes one could.
    sqlx::query("update reclaim set due_time = now(), final_time = now()").execute(pool).await?;
    let deadline = Instant::now() + RECLAIM;
    loop {
        let queued: i64 = sqlx::query_scalar("select count(*) from reclaim").fetch_one(pool).await?;
        if queued == 0 {
            break;
        }
        ensure!(Instant::now() < deadline, "{queued} sessions are still queued for reclaiming");
        sleep(Duration::from_millis(50)).await;
    }
    let named: Vec<String> = sqlx::query_scalar(
        "select distinct tenant_id || '/' || session_id || '/' || object_id from fragment
         join upload_session using (tenant_id, session_id) where state = 'completed'",
    )
    .fetch_all(pool)
    .await?;
    let (named, mut stored) = (named.into_iter().collect(), files(bytes)?);
    // The identity of the store.
    stored.remove("print-upload-store");
    let orphans: Vec<_> = stored.difference(&named).collect();
    let lost: Vec<_> = named.difference(&stored).collect();
    ensure!(orphans.is_empty() && lost.is_empty(), "orphans: {orphans:?}, lost objects: {lost:?}");
    let sessions: i64 = sqlx::query_scalar("select count(*) from upload_session").fetch_one(pool).await?;
    println!("          {sessions} sessions, {} objects of complete documents", stored.len());
    Ok(())
}

/// The files below a folder, by their path from there.
fn files(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let (mut files, mut folders) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(root)?.display().to_string());
            }
        }
    }
    Ok(files)
}
