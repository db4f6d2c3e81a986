//! How many bytes a user uploads in a period.

use serde_json::json;

use super::{limit, limit_of};
use crate::harness::{App, ErrorExt, eventually, sample_bytes};

/// Moves the end of every completed upload into the past.
async fn age_uploads(app: &App, by: &str) {
    let age = "update upload_session set end_time = end_time - $1::text::interval where state = 'completed'";
    sqlx::query(age).bind(by).execute(app.pool()).await.expect("an update");
}

#[tokio::test]
async fn one_byte_more_than_a_user_may_upload_is_refused_until_the_window_has_moved_on() {
    let app = App::with([("limit-user-bytes", "1000/15m")]).await;
    let mut ada = app.ada();
    let documents = [app.new_document().await, app.new_document().await, app.new_document().await];
    ada.upload(&documents[0], &sample_bytes(600)).await.expect("an upload");
    let refused = ada.create(&documents[1], 401).await.expect_err("1,001 bytes");
    assert_eq!(limit_of(&refused), limit("user-bytes", 1000));
    assert_eq!(refused.retry_delay().map(|wait| wait.as_secs()), Some(300));
    let session = ada.create(&documents[1], 400).await.expect("1,000 bytes");
    assert_eq!(ada.create(&documents[1], 400).await.expect("the same session").etag, session.etag);

    let answer = app.rest(&ada).create(&documents[2], 1).await;
    assert_eq!(answer.refusal(), (429, "activityLimitReached".into(), "LIMIT_REACHED".into()));
    assert_eq!(answer.json()["error"]["innerError"]["limit"], json!("user-bytes"));
    assert_eq!(answer.header("retry-after"), "300");

    age_uploads(&app, "15 minutes").await;
    ada.create(&documents[2], 600).await.expect("only what is active counts");
    app.bob().create(&app.new_document().await, 1000).await.expect("bob has a limit of his own");
}

#[tokio::test]
async fn a_document_that_is_larger_than_the_limit_alone_is_not_worth_a_retry() {
    let app = App::with([("limit-user-bytes", "1000/15m")]).await;
    let document = app.new_document().await;
    let refused = app.ada().create(&document, 1001).await.expect_err("too large");
    assert_eq!((refused.reason(), refused.retry_delay()), ("LIMIT_REACHED".into(), None));
    let answer = app.rest(&app.ada()).create(&document, 1001).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, ""));
}

#[tokio::test]
async fn a_cancel_and_an_expiry_free_the_declared_bytes() {
    let app = App::with([("limit-user-bytes", "1000/15m")]).await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    for _ in 0..3 {
        let session = ada.create(&app.new_document().await, 1000).await.expect("a session");
        assert_eq!(limit_of(&ada.create(&document, 1).await.expect_err("full")), limit("user-bytes", 1000));
        ada.delete(&session.name).await.expect("deleted");
    }
    let session = ada.create(&app.new_document().await, 1000).await.expect("a session");
    app.make_overdue(&session).await;
    eventually("the session has expired", async || ada.create(&document, 1000).await.is_ok()).await;
}

#[tokio::test]
async fn the_long_period_counts_what_the_short_one_has_forgotten() {
    let app = App::with([("limit-user-bytes", "1000/15m"), ("limit-user-bytes-long", "1500/10d")]).await;
    let mut ada = app.ada();
    ada.upload(&app.new_document().await, &sample_bytes(1000)).await.expect("an upload");
    age_uploads(&app, "15 minutes").await;
    let refused = ada.create(&app.new_document().await, 501).await.expect_err("1,501 bytes");
    assert_eq!(limit_of(&refused), limit("user-bytes-long", 1500));
    age_uploads(&app, "10 days").await;
    ada.create(&app.new_document().await, 1000).await.expect("ten days later");
}

#[tokio::test]
async fn errors_of_the_document_come_before_limits_and_applications_have_none() {
    let app = App::with([("limit-user-bytes", "1000/15m")]).await;
    let mut ada = app.ada();
    let uploaded = app.new_document().await;
    ada.upload(&uploaded, &sample_bytes(1000)).await.expect("an upload");
    let refused = ada.create(&uploaded, 1000).await.expect_err("uploaded");
    assert_eq!(refused.reason(), "DOCUMENT_ALREADY_UPLOADED");
    let taken = app.new_document().await;
    app.robot().create(&taken, 5000).await.expect("an application");
    assert_eq!(ada.create(&taken, 1000).await.expect_err("taken").reason(), "UPLOAD_SESSION_ACTIVE");
}
