//! A delete at the moment when its session expires, while a range commits.

use print_upload::proto::{UploadSession, upload_session::State};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::harness::{Actor, App, ErrorExt, eventually, sample_bytes};

/// A session that expires while a range that was in time is about to commit. The range holds the row's lock, and its
/// commit moves the expiry.
pub async fn expiring_during_a_range(app: &App, ada: &mut Actor) -> (UploadSession, Transaction<'static, Postgres>) {
    let session = ada.create(&app.new_document().await, 1000).await.expect("a session");
    let id: Uuid = session.etag.parse().expect("an id");
    let mut range = app.keep_from_sweeper(&session).await;
    app.make_overdue(&session).await;
    // The statement of a range that read the session as active a moment ago.
    let taken = "update upload_session set expire_time = expire_limit, received = '{[0,10)}', fragment_count = 1
                 where session_id = $1 and state = 'active'";
    sqlx::query(taken).bind(id).execute(&mut *range).await.expect("the range's statement");
    assert!(app.is_overdue(&session).await, "as others see it");
    (session, range)
}

#[tokio::test]
async fn a_delete_that_waits_for_a_range_across_the_expiry_ends_the_session() {
    let app = App::start().await;
    let mut ada = app.ada();
    let (session, range) = expiring_during_a_range(&app, &mut ada).await;

    let (mut deleter, name) = (ada.clone(), session.name.clone());
    let deletion = tokio::spawn(async move { deleter.delete(&name).await });
    eventually("the delete waits for the range", async || app.waiting_statements().await > 0).await;
    range.commit().await.expect("committed");
    deletion.await.expect("no panic").expect("deleted");

    let ended = ada.get(&session.name).await.expect("the tombstone");
    assert_eq!(ended.state(), State::Canceled, "not overdue any more, and not active either");
    assert_eq!(app.actions_on(&session).await, ["create", "cancel"]);
    let late = ada.send(&session, &sample_bytes(1000), 500..1000).await.expect_err("a late range");
    assert_eq!(late.reason(), "UPLOAD_SESSION_CANCELED");
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
}

#[tokio::test]
async fn a_job_deletion_that_waits_for_a_range_across_the_expiry_ends_the_session() {
    let app = App::start().await;
    let mut ada = app.ada();
    let (session, range) = expiring_during_a_range(&app, &mut ada).await;

    let (mut catalog, document) = (app.catalog(), session.document.clone());
    let deletion = tokio::spawn(async move { catalog.delete_job(&document, 2).await });
    eventually("the deletion waits for the range", async || app.waiting_statements().await > 0).await;
    range.commit().await.expect("committed");
    deletion.await.expect("no panic").expect("deleted");

    assert_eq!(ada.get(&session.name).await.expect("the tombstone").state(), State::Canceled);
    assert_eq!(app.actions_on(&session).await, ["create", "cancel"]);
}

/// Postgres evaluates the condition again only when the row was changed. Here its lock was held without a change.
#[tokio::test]
async fn a_delete_that_waits_for_nothing_across_the_expiry_leaves_the_session_expired() {
    let app = App::start().await;
    let mut ada = app.ada();
    let session = ada.create(&app.new_document().await, 1000).await.expect("a session");
    app.make_expire_soon(&session).await;
    let holder = app.lock(&session).await;

    let (mut deleter, name) = (ada.clone(), session.name.clone());
    let deletion = tokio::spawn(async move { deleter.delete(&name).await });
    // On a very busy machine the session may expire before.
    eventually("the delete waits", async || app.waiting_cancels().await == 1 || deletion.is_finished()).await;
    eventually("it is overdue", async || app.is_overdue(&session).await).await;
    holder.rollback().await.expect("the lock is released");
    deletion.await.expect("no panic").expect("deleted");

    assert_eq!(ada.get(&session.name).await.expect("the tombstone").state(), State::Expired);
    assert_eq!(app.actions_on(&session).await, ["create", "expire"]);
}
