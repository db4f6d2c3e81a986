//! Crashes while a program starts, for the first time or again, and while tombstones are purged, which it does at once
//! after its start.

use print_upload::proto::UploadSession;
use tonic::Code;
use uuid::{ContextV7, Timestamp, Uuid};

use super::crash::{Crash, SIZE};
use crate::harness::{Bucket, ErrorExt, eventually, sample_bytes};

pub async fn start(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;

    crash.at_start().await;

    crash.app.ada().send(&session, &bytes, SIZE / 3..SIZE).await.expect("the upload goes on");
    crash.assert_downloads(&session.document, &bytes).await;
    if crash.is_at(&["probe.put"]) {
        drop_probe_an_hour_later(&mut crash).await;
    }
    crash.assert_clean().await;
}

/// The store is adopted with the identity that it got before the crash.
pub async fn first_start(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;

    crash.at_first_start().await;

    let adopted = sqlx::query_scalar::<_, Uuid>("select store_id from object_store").fetch_one(crash.app.pool()).await;
    assert_eq!(adopted.expect("an adopted store"), crash.bucket.identity().await);
    crash.app.ada().send(&session, &bytes, SIZE / 3..SIZE).await.expect("the upload goes on");
    crash.assert_downloads(&session.document, &bytes).await;
    crash.assert_clean().await;
}

/// Another start may be using the object of a check. So a start drops it only an hour later.
async fn drop_probe_an_hour_later(crash: &mut Crash) {
    let everything = crash.bucket.everything().await;
    let probe = everything.iter().find(|path| path.starts_with("probe/")).expect("the object that was left");
    let made = Uuid::parse_str(&probe["probe/".len()..]).expect("an id").get_timestamp().expect("a time");
    let (seconds, _) = made.to_unix();
    let older = Uuid::new_v7(Timestamp::from_unix(ContextV7::new(), seconds - 3700, 0));
    crash.bucket.rename(probe, &format!("probe/{older}")).await;
    crash.restart().await;
}

pub async fn purge_sessions(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;
    crash.app.ada().delete(&session.name).await.expect("canceled");
    finish_passes_over(&crash, &session).await;
    crash.execute("update upload_session set end_time = end_time - interval '25 hours'").await;

    crash.at_start().await;

    let purged = async || crash.count("select count(*) from upload_session").await == 0;
    eventually("the session is purged", purged).await;
    let refused = crash.app.ada().get(&session.name).await.expect_err("purged");
    assert_eq!(refused.code_and_reason(), (Code::NotFound, "UPLOAD_SESSION_NOT_FOUND".into()));
    assert_eq!(crash.app.actions_on(&session).await, ["create", "cancel"], "the audit trail outlives it");
    crash.upload_again(&session.document, &bytes).await;
    crash.assert_clean().await;
}

pub async fn purge_jobs(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (kept, deleted, bytes) = (crash.app.new_document().await, crash.app.new_document().await, sample_bytes(SIZE));
    crash.app.ada().upload(&kept, &bytes).await.expect("uploaded");
    let session = crash.app.ada().upload(&deleted, &bytes).await.expect("uploaded");
    crash.app.catalog().delete_job(&deleted, 2).await.expect("deleted");
    finish_passes_over(&crash, &session).await;
    crash.execute("update print_job set delete_time = delete_time - interval '25 hours'").await;

    crash.at_start().await;

    let rows = "select (select count(*) from print_job) + (select count(*) from print_document)
                     + (select count(*) from upload_session)";
    eventually("the job is purged", async || crash.count(rows).await == 3).await;
    crash.assert_downloads(&kept, &bytes).await;
    crash.assert_clean().await;
}

async fn finish_passes_over(crash: &Crash, session: &UploadSession) {
    crash.app.make_reclaim_last(session).await;
    eventually("the last pass is done", async || crash.app.reclaim_job(session).await.is_none()).await;
}
