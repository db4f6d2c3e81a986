//! What callers see of a session that expires while a range commits.

use print_upload::proto::upload_session::State;

use super::delete_at_expiry::expiring_during_a_range;
use crate::harness::{App, ErrorExt, eventually, sample_bytes};

#[tokio::test]
async fn a_session_that_a_range_prolongs_is_not_reported_as_expired() {
    let app = App::start().await;
    let mut ada = app.ada();
    let (session, range) = expiring_during_a_range(&app, &mut ada).await;

    let (mut reader, name) = (ada.clone(), session.name.clone());
    let read = tokio::spawn(async move { reader.get(&name).await });
    eventually("the read waits for the range", async || read.is_finished() || app.waiting_statements().await > 0).await;
    range.commit().await.expect("committed");

    assert_eq!(read.await.expect("no panic").expect("the session").state(), State::Active);
    assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Active);
}

#[tokio::test]
async fn a_range_to_a_session_that_another_range_prolongs_is_taken() {
    let app = App::start().await;
    let mut ada = app.ada();
    let (session, range) = expiring_during_a_range(&app, &mut ada).await;

    let (mut writer, target) = (ada.clone(), session.clone());
    let sending = tokio::spawn(async move { writer.send(&target, &sample_bytes(1000), 500..600).await });
    let waits = async || sending.is_finished() || app.waiting_statements().await > 0;
    eventually("the second range waits for the first", waits).await;
    range.commit().await.expect("committed");

    sending.await.expect("no panic").expect("taken");
    assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Active);
}

/// Others may have seen the session expired, and created a new one.
#[tokio::test]
async fn a_range_that_waits_for_nothing_across_the_expiry_is_refused() {
    let app = App::start().await;
    let mut ada = app.ada();
    let session = ada.create(&app.new_document().await, 1000).await.expect("a session");
    app.make_expire_soon(&session).await;
    let holder = app.lock(&session).await;

    let (mut writer, target) = (ada.clone(), session.clone());
    let sending = tokio::spawn(async move { writer.send(&target, &sample_bytes(1000), 0..10).await });
    eventually("the range waits", async || sending.is_finished() || app.waiting_statements().await > 0).await;
    eventually("the session is overdue", async || app.is_overdue(&session).await).await;
    holder.rollback().await.expect("the lock is released");

    let refused = sending.await.expect("no panic").expect_err("the session has expired");
    assert_eq!(refused.reason(), "UPLOAD_SESSION_EXPIRED");
    assert_eq!(ada.get(&session.name).await.expect("the tombstone").state(), State::Expired);
    assert_eq!(app.actions_on(&session).await, ["create", "expire"]);
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
}
