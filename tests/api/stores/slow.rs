//! A store that does not answer: what waits for it, and for how long.

use tonic::Code;

use super::small_store::SmallStore;
use crate::harness::{ErrorExt, eventually, sample_bytes};

const KIB: usize = 1024;

/// The store answers until the service has started, and then never again. Sixteen ranges are being put, and the next one
/// waits for them. It is not put any more when its session is canceled.
#[tokio::test]
async fn a_range_that_waits_for_a_store_is_let_go_by_a_cancel() {
    let (silent, bucket) = SmallStore::start().await;
    let app = bucket.app().await;
    silent.fall_silent();
    let (ada, bytes) = (app.ada(), sample_bytes(10 * KIB));
    let send = async || {
        let session = ada.clone().create(&app.new_document().await, bytes.len()).await.expect("a session");
        let (mut ada, bytes, sent) = (ada.clone(), bytes.clone(), session.clone());
        let answer = tokio::spawn(async move { ada.send(&sent, &bytes, 0..10 * KIB).await });
        (session, answer)
    };
    let mut being_put = Vec::new();
    for _ in 0..16 {
        being_put.push(send().await);
    }
    eventually("they are being put", async || bucket.ranges_under_way() == 0).await;
    let (session, waiting) = send().await;
    eventually("the next one waits", async || bucket.ranges_under_way() == 1).await;

    ada.clone().delete(&session.name).await.expect("deleted");

    let refused = waiting.await.expect("no panic").expect_err("canceled");
    assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    eventually("it does not wait any more", async || bucket.ranges_under_way() == 0).await;
    assert!(being_put.iter().all(|(_, answer)| !answer.is_finished()), "the others still wait for their store");
}
