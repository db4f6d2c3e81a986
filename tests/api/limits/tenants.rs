//! What a tenant may hold.

use super::{limit, limit_of};
use crate::harness::{App, ErrorExt, eventually, sample_bytes};

#[tokio::test]
async fn a_tenant_has_only_so_many_active_sessions() {
    let app = App::with([("limit-tenant-sessions", "2")]).await;
    let (mut ada, mut bob) = (app.ada(), app.bob());
    let document = app.new_document().await;
    let session = ada.create(&document, 1000).await.expect("a session");
    bob.create(&app.new_document_of("bob").await, 1000).await.expect("a second session");
    let other = app.new_document().await;
    let refused = ada.create(&other, 1000).await.expect_err("a third session");
    assert_eq!(limit_of(&refused), limit("tenant-sessions", 2));
    assert_eq!(refused.metadata_of("window_seconds"), None);
    let answer = app.rest(&ada).create(&other, 1000).await;
    assert_eq!(answer.refusal(), (429, "activityLimitReached".into(), "LIMIT_REACHED".into()));
    assert_eq!(ada.create(&document, 1000).await.expect("the first one again").etag, session.etag);

    ada.delete(&session.name).await.expect("deleted");
    eventually("the cancel has freed it", async || ada.create(&other, 1000).await.is_ok()).await;
    bob.create(&document, 1000).await.expect_err("a third session");
}

#[tokio::test]
async fn the_bytes_of_a_tenant_count_from_their_declaration_until_they_are_dropped() {
    let mut app = App::with([("limit-tenant-bytes", "1000")]).await;
    let mut ada = app.ada();
    let uploaded = app.new_document().await;
    ada.upload(&uploaded, &sample_bytes(600)).await.expect("an upload");
    let session = ada.create(&app.new_document().await, 400).await.expect("1,000 bytes");
    let document = app.new_document().await;
    assert_eq!(limit_of(&ada.create(&document, 1).await.expect_err("1,001 bytes")), limit("tenant-bytes", 1000));
    assert_eq!(ada.create(&document, 1001).await.expect_err("too large").retry_delay(), None);
    ada.delete(&session.name).await.expect("deleted");
    eventually("400 bytes are free", async || ada.create(&document, 400).await.is_ok()).await;

    // A replica that starts knows nothing, and counts.
    app.stop().await;
    app.run().await;
    let mut ada = app.ada();
    let document = app.new_document().await;
    eventually("it has counted", async || {
        let refused = ada.create(&document, 600).await;
        if let Ok(created) = &refused {
            ada.delete(&created.name).await.expect("deleted");
        }
        refused.is_err_and(|refused| limit_of(&refused) == limit("tenant-bytes", 1000))
    })
    .await;
    app.catalog().delete_job(&uploaded, 2).await.expect("deleted");
    eventually("600 bytes are free", async || ada.create(&document, 600).await.is_ok()).await;
}

#[tokio::test]
async fn nobody_is_refused_by_default() {
    let app = App::start().await;
    for _ in 0..20 {
        app.ada().create(&app.new_document().await, 1 << 30).await.expect("a session");
        app.ada().create_job("printers/p").await.expect("a job");
    }
    assert_eq!(app.mallory().create_job("printers/p").await.map(drop).map_err(|refused| refused.reason()), Ok(()));
}
