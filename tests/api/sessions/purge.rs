//! Tombstones: ended sessions stay visible for the retention time.

use print_upload::proto::{UploadSession, upload_session::State};
use tonic::Code;

use crate::harness::{App, ErrorExt, eventually, sample_bytes};

/// The service purges when it starts, and once a minute.
async fn restart(app: &mut App) {
    app.stop().await;
    app.run().await;
}

async fn is_purged(app: &App, session: &UploadSession) -> bool {
    match app.ada().get(&session.name).await {
        Ok(_) => false,
        Err(refused) => {
            assert_eq!(refused.code_and_reason(), (Code::NotFound, "UPLOAD_SESSION_NOT_FOUND".into()));
            true
        }
    }
}

async fn end_ninety_minutes_ago(app: &App, session: &UploadSession) {
    app.update_row(
        "update upload_session set end_time = end_time - interval '90 minutes' where session_id = $1",
        session,
    )
    .await;
}

async fn finish_reclaiming(app: &App, session: &UploadSession) {
    app.make_reclaim_last(session).await;
    eventually("its bytes are reclaimed completely", async || app.reclaim_job(session).await.is_none()).await;
}

async fn canceled(app: &App) -> UploadSession {
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, 1000).await.expect("a session");
    ada.send(&session, &sample_bytes(1000), 0..500).await.expect("a range");
    ada.delete(&session.name).await.expect("deleted");
    session
}

#[tokio::test]
async fn a_tombstone_goes_after_its_retention_and_only_once_its_bytes_are_reclaimed_for_good() {
    let mut app = App::with([("tombstone-retention", "1h")]).await;
    let (old, old_with_work, young) = (canceled(&app).await, canceled(&app).await, canceled(&app).await);
    finish_reclaiming(&app, &old).await;
    finish_reclaiming(&app, &young).await;
    end_ninety_minutes_ago(&app, &old).await;
    end_ninety_minutes_ago(&app, &old_with_work).await;

    restart(&mut app).await;
    eventually("the old one is purged", async || is_purged(&app, &old).await).await;

    for kept in [&young, &old_with_work] {
        assert_eq!(app.ada().get(&kept.name).await.expect("the tombstone").state(), State::Canceled);
    }
    assert_eq!(app.actions_on(&old).await, ["create", "cancel"], "the audit trail outlives it");
    let refused = app.ada().get(&format!("{}/uploadSession", old.document)).await.expect_err("no session is left");
    assert_eq!(refused.code_and_reason(), (Code::NotFound, "UPLOAD_SESSION_NOT_FOUND".into()));

    finish_reclaiming(&app, &old_with_work).await;
    restart(&mut app).await;
    eventually("it is purged, too", async || is_purged(&app, &old_with_work).await).await;
    assert!(!is_purged(&app, &young).await);
}

#[tokio::test]
async fn a_purged_session_takes_no_range_and_its_document_a_new_session() {
    let mut app = App::with([("tombstone-retention", "1h")]).await;
    let (mut ada, bytes, old) = (app.ada(), sample_bytes(1000), canceled(&app).await);
    finish_reclaiming(&app, &old).await;
    end_ninety_minutes_ago(&app, &old).await;
    restart(&mut app).await;
    eventually("it is purged", async || is_purged(&app, &old).await).await;

    for mut late in [ada.clone(), ada.holder_of(&old)] {
        let refused = late.send(&old, &bytes, 500..1000).await.expect_err("no such session");
        assert_eq!(refused.code_and_reason(), (Code::NotFound, "UPLOAD_SESSION_NOT_FOUND".into()));
    }
    assert!(app.is_reclaimed(&old));
    ada.upload(&old.document, &bytes).await.expect("a new session");
    assert_eq!(ada.download(&old.document, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn a_completed_session_lives_as_long_as_its_document() {
    let mut app = App::with([("tombstone-retention", "1h")]).await;
    let (mut ada, bytes, document) = (app.ada(), sample_bytes(1000), app.new_document().await);
    let completed = ada.upload(&document, &bytes).await.expect("an uploaded document");
    let marker = canceled(&app).await;
    for session in [&completed, &marker] {
        finish_reclaiming(&app, session).await;
        end_ninety_minutes_ago(&app, session).await;
    }

    restart(&mut app).await;
    eventually("tombstones are purged", async || is_purged(&app, &marker).await).await;

    assert_eq!(ada.get(&completed.name).await.expect("the session").state(), State::Completed);
    assert_eq!(ada.download(&document, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn a_deleted_job_is_forgotten_after_the_retention_but_never_before_its_bytes_are_gone() {
    let mut app = App::with([("tombstone-retention", "1h")]).await;
    let (mut ada, bytes, document) = (app.ada(), sample_bytes(1000), app.new_document().await);
    let completed = ada.upload(&document, &bytes).await.expect("an uploaded document");
    app.catalog().delete_job(&document, 2).await.expect("deleted");
    assert_eq!(app.actions_on(&completed).await, ["create", "complete", "free"]);
    app.update_row(
        "update print_job set delete_time = delete_time - interval '90 minutes'
         from upload_session s join print_document d using (tenant_id, document_id)
         where s.session_id = $1 and (print_job.tenant_id, print_job.job_id) = (d.tenant_id, d.job_id)",
        &completed,
    )
    .await;

    let marker = canceled(&app).await;
    finish_reclaiming(&app, &marker).await;
    end_ninety_minutes_ago(&app, &marker).await;
    restart(&mut app).await;
    eventually("tombstones are purged", async || is_purged(&app, &marker).await).await;
    assert_eq!(ada.get(&completed.name).await.expect("the session").state(), State::Completed, "its work is not done");

    finish_reclaiming(&app, &completed).await;
    restart(&mut app).await;
    eventually("it is purged with its job", async || is_purged(&app, &completed).await).await;
    assert!(app.is_reclaimed(&completed));
}
