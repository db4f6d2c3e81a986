//! An upload URL that is renewed on one replica is worthless on the other.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::Code;

use super::Replicas;
use crate::harness::{ErrorExt, eventually, sample_bytes};

/// How many renewals there are. Half of them must reach the writers soon. A replica that only polls, every five
/// seconds, would notify at most the first writer soon.
const RENEWALS: usize = 6;
const SOON: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_url_that_is_renewed_on_one_replica_is_refused_on_the_other_at_once() {
    let mut replicas = Replicas::start().await;
    let bytes = sample_bytes(1000);
    let session = replicas.first.create(&replicas.app.new_document().await, 1000).await.expect("a session");
    let mut current = session.clone();
    let mut soon = 0;
    for _ in 0..RENEWALS {
        let mut holder = replicas.first.holder_of(&current);
        let (_still_held, stalled) = holder.stall(&current, &bytes, 0..1000);
        eventually("the writer is under way", async || replicas.app.files_of(&session).len() == 1).await;

        let renewed = replicas.second.renew(&session.name).await.expect("renewed");
        let begun = Instant::now();

        let refused = holder.get(&session.name).await.expect_err("an old URL");
        assert_eq!(refused.code_and_reason(), (Code::Unauthenticated, "UPLOAD_URL_RENEWED".into()));
        let answer = timeout(Duration::from_secs(30), stalled).await.expect("the writer is notified");
        let refused = answer.expect("an answer").expect_err("an old URL");
        assert_eq!(refused.code_and_reason(), (Code::Unauthenticated, "UPLOAD_URL_RENEWED".into()));
        soon += usize::from(begun.elapsed() < SOON);
        eventually("its bytes are gone", async || replicas.app.files_of(&session).is_empty()).await;
        current = renewed;
    }
    assert!(soon >= RENEWALS / 2, "{soon} of {RENEWALS}");
    replicas.first.holder_of(&current).send(&current, &bytes, 0..1000).await.expect("the newest URL");
}
