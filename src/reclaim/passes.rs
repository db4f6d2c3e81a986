//! Passes over the bytes of claimed sessions. Those that have none are recorded together.

use tokio::time::{Instant, sleep_until, timeout};

use super::{PASS_TIMEOUT, SECOND_PASS, back_off, claims::Claimed};
use crate::{app_state::AppState, blobs::Folder, store::Error, store::Reclaim, telemetry::meters};

/// The two passes that follow an end at once.
pub(super) async fn first_passes(app: AppState, claimed: Vec<Claimed>) {
    let second = Instant::now() + SECOND_PASS;
    let empty = spawn_for_bytes(&app, claimed, |app, claimed| both_passes(app, claimed, second)).await;
    if empty.is_empty() {
        return;
    }
    sleep_until(second).await;
    // A writer may have put an object meanwhile.
    let empty = spawn_for_bytes(&app, empty, |app, claimed| pass_and_settle(app, claimed, 2)).await;
    settle(&app, &empty, 2).await;
}

/// One pass over each session: the second one, the last one, or one that is retried.
pub(super) async fn one_pass(app: AppState, claimed: Vec<Claimed>) {
    let empty = spawn_for_bytes(&app, claimed, |app, claimed| pass_and_settle(app, claimed, 1)).await;
    settle(&app, &empty, 1).await;
}

/// Spawns `work` for each session that may have bytes. Returns the others: a pass over them would find nothing.
async fn spawn_for_bytes<F: Future<Output = ()> + Send + 'static>(
    app: &AppState,
    claimed: Vec<Claimed>,
    work: impl Fn(AppState, Claimed) -> F,
) -> Vec<Claimed> {
    // What this database records must be true of its own store.
    if let Some(identity) = claimed.iter().find_map(|claimed| claimed.reclaim.object_store) {
        app.blobs.expect(identity);
    }
    let folders = claimed.iter().map(|claimed| folder(&claimed.reclaim)).collect();
    let may_have_bytes = app.blobs.may_have_bytes(folders).await;
    let mut empty = Vec::new();
    for (claimed, may_have_bytes) in claimed.into_iter().zip(may_have_bytes) {
        if may_have_bytes {
            tokio::spawn(work(app.clone(), claimed));
        } else {
            crash_point!("reclaim.passed");
            empty.push(claimed);
        }
    }
    metrics::counter!(meters::RECLAIM_PASSES, "result" => "done").increment(empty.len() as u64);
    empty
}

async fn both_passes(app: AppState, claimed: Claimed, second: Instant) {
    if !pass(&app, &claimed.reclaim).await {
        return;
    }
    // The lease may end before the second pass: whoever claims the session then makes it.
    if Instant::now() > second {
        return settle(&app, &[claimed], 1).await;
    }
    sleep_until(second).await;
    pass_and_settle(app, claimed, 2).await;
}

async fn pass_and_settle(app: AppState, claimed: Claimed, passes: i32) {
    if pass(&app, &claimed.reclaim).await {
        report(app.store.settle_reclaim(&claimed.reclaim, passes).await);
    }
}

async fn settle(app: &AppState, claimed: &[Claimed], passes: i32) {
    if !claimed.is_empty() {
        report(app.store.settle_reclaims(claimed.iter().map(|claimed| &claimed.reclaim), passes).await);
    }
}

/// Passes that are not recorded are made again when the lease ends. Why they were not, a claim reports.
fn report(recorded: Result<(), Error>) {
    if let Err(error) = recorded {
        tracing::debug!(error = ?error, "passes were not recorded");
    }
}

/// One pass over one session's objects. Returns whether it succeeded. If not, it is retried later.
// The name of the span is documented for operators.
#[tracing::instrument(name = "sweeper.reclaim", level = "debug", skip_all, fields(upload.id = %reclaim.session.0))]
async fn pass(app: &AppState, reclaim: &Reclaim) -> bool {
    let dropping = async {
        let _permit = app.claims.begin_pass().await;
        app.blobs.drop_all_except(folder(reclaim), &reclaim.keep).await
    };
    let problem = match timeout(PASS_TIMEOUT, dropping).await {
        Ok(Ok(())) => {
            metrics::counter!(meters::RECLAIM_PASSES, "result" => "done").increment(1);
            crash_point!("reclaim.passed");
            return true;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the object store takes too long".into(),
    };
    metrics::counter!(meters::RECLAIM_PASSES, "result" => "failed").increment(1);
    tracing::warn!(upload.id = %reclaim.session.0, error = problem, "bytes of an ended session are still there");
    report(app.store.defer_reclaim(reclaim, back_off(reclaim.attempts)).await);
    false
}

fn folder(reclaim: &Reclaim) -> Folder {
    Folder { tenant: reclaim.tenant, session: reclaim.session }
}
