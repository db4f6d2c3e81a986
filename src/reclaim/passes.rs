//! Passes over the bytes of claimed sessions. Those that have none are recorded together.

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use super::{PASS_TIMEOUT, SECOND_PASS, back_off, claims::Claimed};
use crate::{
    app_state::AppState,
    blobs::Folder,
    store::{Error, Reclaim},
    telemetry::meters,
};

/// The passes of one replica, each in a task that is finished when the replica stops.
#[derive(Debug, Clone)]
pub(super) struct Passes {
    app: AppState,
    tasks: TaskTracker,
}

impl Passes {
    pub(super) fn new(app: &AppState) -> Self {
        Self { app: app.clone(), tasks: TaskTracker::new() }
    }

    /// Begins the two passes that follow an end at once.
    pub(super) fn begin_both(&self, claimed: Vec<Claimed>) {
        if !claimed.is_empty() {
            self.tasks.spawn(self.clone().both_passes(claimed));
        }
    }

    /// Begins one pass over each session: the second one, the last one, or one that is retried.
    pub(super) fn begin_one(&self, claimed: Vec<Claimed>) {
        if !claimed.is_empty() {
            self.tasks.spawn(self.clone().one_pass(claimed));
        }
    }

    /// Waits until every pass that has begun is recorded.
    pub(super) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn both_passes(self, claimed: Vec<Claimed>) {
        let second = Instant::now() + SECOND_PASS;
        let empty = self.begin_for_bytes(claimed, |passes, claimed| passes.both_passes_over(claimed, second)).await;
        if empty.is_empty() {
            return;
        }
        sleep_until(second).await;
        // A writer may have put an object meanwhile.
        let empty = self.begin_for_bytes(empty, |passes, claimed| passes.pass_over(claimed, 2)).await;
        self.settle(&empty, 2).await;
    }

    async fn one_pass(self, claimed: Vec<Claimed>) {
        let empty = self.begin_for_bytes(claimed, |passes, claimed| passes.pass_over(claimed, 1)).await;
        self.settle(&empty, 1).await;
    }

    /// Begins `work` for each session that may have bytes. Returns the others: a pass over them would find nothing.
    async fn begin_for_bytes<F: Future<Output = ()> + Send + 'static>(
        &self,
        claimed: Vec<Claimed>,
        work: impl Fn(Self, Claimed) -> F,
    ) -> Vec<Claimed> {
        let folders: Vec<_> = claimed.iter().map(|claimed| folder(&claimed.reclaim)).collect();
        let count = folders.len();
        // A folder that hangs must not hold up the other sessions.
        let may_have_bytes = timeout(SECOND_PASS, self.app.blobs.may_have_bytes(folders)).await;
        let may_have_bytes = may_have_bytes.unwrap_or_else(|_| vec![true; count]);
        let mut empty = Vec::new();
        for (claimed, may_have_bytes) in claimed.into_iter().zip(may_have_bytes) {
            if may_have_bytes {
                self.tasks.spawn(work(self.clone(), claimed));
            } else {
                crash_point!("reclaim.passed");
                empty.push(claimed);
            }
        }
        metrics::counter!(meters::RECLAIM_PASSES, "result" => "done").increment(empty.len() as u64);
        empty
    }

    async fn both_passes_over(self, claimed: Claimed, second: Instant) {
        if !pass(&self.app, &claimed.reclaim).await {
            return;
        }
        // The lease may end before the second pass: whoever claims the session then makes it.
        if Instant::now() > second {
            return report(self.app.store.settle_reclaim(&claimed.reclaim, 1).await);
        }
        sleep_until(second).await;
        self.pass_over(claimed, 2).await;
    }

    /// Records `passes` if this pass succeeds.
    async fn pass_over(self, claimed: Claimed, passes: i32) {
        if pass(&self.app, &claimed.reclaim).await {
            report(self.app.store.settle_reclaim(&claimed.reclaim, passes).await);
        }
    }

    async fn settle(&self, claimed: &[Claimed], passes: i32) {
        if !claimed.is_empty() {
            let _permit = self.app.claims.begin_record().await;
            let reclaims = claimed.iter().map(|claimed| &claimed.reclaim);
            report(self.app.store.settle_reclaims(reclaims, passes).await);
        }
    }
}

/// Passes that are not recorded are made again when the lease ends.
fn report(recorded: Result<(), Error>) {
    if let Err(error) = recorded {
        tracing::debug!(error = ?error, "passes were not recorded");
    }
}

/// One pass over one session's objects. Returns whether it succeeded. If not, it is retried later.
// The name of the span is documented for operators.
#[tracing::instrument(name = "sweeper.reclaim", level = "debug", skip_all, fields(upload.id = %reclaim.session.0))]
async fn pass(app: &AppState, reclaim: &Reclaim) -> bool {
    // While many passes are slow, another replica may have time when the lease ends.
    let Ok(_permit) = timeout(PASS_TIMEOUT, app.claims.begin_pass()).await else { return false };
    let dropping = app.blobs.drop_all_except(folder(reclaim), &reclaim.keep);
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
