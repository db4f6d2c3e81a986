//! All bytes of ended sessions are dropped, whatever fails meanwhile.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use print_upload::proto::{UploadSession, upload_session::State};
use uuid::Uuid;

use crate::harness::{App, TENANT, eventually, sample_bytes};

/// A session of ada's with half of its bytes.
async fn half_uploaded(app: &App) -> (UploadSession, Bytes) {
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..1000).await.expect("a range");
    (session, bytes)
}

/// Puts files that are in no manifest into a session's folder: an object, a staged file, and a stray one.
fn plant(app: &App, session: &UploadSession) -> Vec<String> {
    let object = Uuid::now_v7();
    let names = vec![object.to_string(), format!("{}#1", Uuid::now_v7()), format!("{object}#2"), "odd".into()];
    fs::create_dir_all(app.session_folder(session)).expect("a folder");
    for name in &names {
        fs::write(app.session_folder(session).join(name), b"left behind").expect("a file");
    }
    names
}

#[tokio::test]
async fn staged_files_stray_objects_and_the_folder_itself_count_as_the_sessions_bytes() {
    let app = App::start().await;
    let (session, _) = half_uploaded(&app).await;
    plant(&app, &session);
    assert_eq!(app.files_of(&session).len(), 5);

    app.ada().delete(&session.name).await.expect("deleted");

    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
}

#[tokio::test]
async fn an_empty_folder_is_not_left_behind() {
    let app = App::start().await;
    let session = app.ada().create(&app.new_document().await, 1000).await.expect("a session");
    fs::create_dir_all(app.session_folder(&session)).expect("a folder");

    app.ada().delete(&session.name).await.expect("deleted");

    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
}

#[tokio::test]
async fn reclaiming_one_session_leaves_the_others_alone() {
    let app = App::start().await;
    let (ended, _) = half_uploaded(&app).await;
    let (active, bytes) = half_uploaded(&app).await;
    let strays = plant(&app, &active);

    app.ada().delete(&ended.name).await.expect("deleted");
    eventually("the ended one's bytes are gone", async || app.is_reclaimed(&ended)).await;

    assert_eq!(app.files_of(&active).len(), 1 + strays.len(), "an active session's folder is not touched");
    app.ada().send(&active, &bytes, 1000..2000).await.expect("the rest");
    assert_eq!(app.ada().download(&active.document, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn a_completed_session_keeps_its_manifest_and_drops_what_failed_attempts_left() {
    let app = App::start().await;
    let (session, bytes) = half_uploaded(&app).await;
    app.ada().send(&session, &bytes, 1500..2000).await.expect("a range");
    let strays = plant(&app, &session);
    app.ada().send(&session, &bytes, 500..1600).await.expect("the rest, with more");
    assert_eq!(app.files_of(&session).len(), 3 + strays.len(), "a late writer may still need its own");

    app.make_reclaim_last(&session).await;
    eventually("the work is done", async || app.reclaim_job(&session).await.is_none()).await;

    let mut files = app.files_of(&session);
    files.sort();
    assert_eq!(files, app.manifest_of(&session).await);
    assert_eq!(files.len(), 3);
    assert_eq!(app.ada().download(&session.document, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn reclaiming_goes_on_after_a_restart() {
    let mut app = App::start().await;
    let (session, _) = half_uploaded(&app).await;
    app.ada().delete(&session.name).await.expect("deleted");
    eventually("two passes went through", async || passes(&app, &session).await >= 2).await;
    app.stop().await;
    plant(&app, &session);
    app.update_row("update reclaim set due_time = now() where session_id = $1", &session).await;

    app.run().await;

    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
}

#[tokio::test]
async fn a_session_that_ended_without_the_service_knowing_is_reclaimed_when_it_starts() {
    let mut app = App::start().await;
    let (session, _) = half_uploaded(&app).await;
    app.stop().await;
    app.make_overdue(&session).await;
    assert_eq!(app.files_of(&session).len(), 1);

    app.run().await;

    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
    assert_eq!(app.ada().get(&session.name).await.expect("the tombstone").state(), State::Expired);
}

#[tokio::test]
async fn the_work_stays_until_no_writer_can_be_left_and_then_ends() {
    let app = App::with([("range-timeout", "5m")]).await;
    let (session, _) = half_uploaded(&app).await;
    app.ada().delete(&session.name).await.expect("deleted");
    eventually("two passes went through", async || passes(&app, &session).await >= 2).await;

    let waits_for_the_last: bool = sqlx::query_scalar(
        "select due_time = final_time and final_time = end_time + interval '6 minutes'
         from reclaim join upload_session using (tenant_id, session_id) where session_id = $1",
    )
    .bind(session.etag.parse::<Uuid>().expect("an id"))
    .fetch_one(app.pool())
    .await
    .expect("the work is not forgotten");
    assert!(waits_for_the_last, "the range timeout and a minute after the end");

    plant(&app, &session);
    app.make_reclaim_last(&session).await;
    eventually("the work is done", async || app.reclaim_job(&session).await.is_none()).await;
    assert!(app.is_reclaimed(&session), "the last pass took what had come late");
}

#[tokio::test]
async fn a_store_that_fails_is_asked_again_until_the_bytes_are_gone() {
    let app = App::start().await;
    let (session, _) = half_uploaded(&app).await;
    let broken = BrokenStore::of(&app);

    app.ada().delete(&session.name).await.expect("deleted: the state does not depend on the store");

    assert_eq!(app.ada().get(&session.name).await.expect("the tombstone").state(), State::Canceled);
    let attempts = async || app.reclaim_job(&session).await.expect("the work is not forgotten").attempts;
    eventually("it was retried", async || attempts().await >= 3).await;
    assert_eq!(passes(&app, &session).await, 0);

    assert_eq!(broken.files_of(&session), 1);
    broken.mend();
    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
    eventually("a pass went through", async || passes(&app, &session).await >= 1).await;
}

#[tokio::test]
async fn one_session_that_cannot_be_reclaimed_does_not_hold_up_the_others() {
    let app = App::start().await;
    let (stuck, _) = half_uploaded(&app).await;
    // A file in place of the session's folder. Even root can neither list nor enter it.
    let aside = app.bytes_folder().join("aside");
    fs::rename(app.session_folder(&stuck), &aside).expect("moved");
    fs::write(app.session_folder(&stuck), b"in the way").expect("a file");
    let (other, _) = half_uploaded(&app).await;

    app.ada().delete(&stuck.name).await.expect("deleted");
    app.ada().delete(&other.name).await.expect("deleted");

    eventually("the other's bytes are gone", async || app.is_reclaimed(&other)).await;
    fs::remove_file(app.session_folder(&stuck)).expect("removed");
    fs::rename(&aside, app.session_folder(&stuck)).expect("moved back");
    eventually("nothing is left", async || app.is_reclaimed(&stuck)).await;
}

#[tokio::test]
async fn a_second_cancel_drops_the_bytes_that_the_first_one_has_left() {
    let mut app = App::start().await;
    let (session, _) = half_uploaded(&app).await;
    app.stop().await;
    // As a replica leaves it that ends the session, and dies before its first pass. Its lease is long.
    app.update_row(
        "with ended as (
             update upload_session set state = 'canceled', end_time = now(), ended_by = owner, end_reason = 'deleted'
             where session_id = $1 returning tenant_id, session_id
         )
         insert into reclaim (tenant_id, session_id, due_time, final_time, attempts)
         select tenant_id, session_id, now() + interval '1 hour', now() + interval '2 hours', 1 from ended",
        &session,
    )
    .await;
    app.run().await;
    assert_eq!(app.files_of(&session).len(), 1);

    app.ada().delete(&session.name).await.expect("canceled before");

    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
}

async fn passes(app: &App, session: &UploadSession) -> i32 {
    app.reclaim_job(session).await.expect("the work is not forgotten").passes
}

/// A store whose tenant folder is replaced by a file, so that every access fails, for root as well.
struct BrokenStore {
    tenant: PathBuf,
    aside: PathBuf,
}

impl BrokenStore {
    fn of(app: &App) -> Self {
        let tenant = app.bytes_folder().join(TENANT.to_string());
        let aside = app.bytes_folder().join("aside");
        fs::rename(&tenant, &aside).expect("moved");
        fs::write(&tenant, b"in the way").expect("a file");
        Self { tenant, aside }
    }

    /// How many files a session still has in the real folder.
    fn files_of(&self, session: &UploadSession) -> usize {
        fs::read_dir(self.aside.join(&session.etag)).map_or(0, Iterator::count)
    }

    fn mend(self) {
        fs::remove_file(&self.tenant).expect("removed");
        fs::rename(&self.aside, &self.tenant).expect("moved back");
    }
}
