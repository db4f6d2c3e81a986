//! Crashes while the bytes of ended sessions are dropped.

use std::fs;

use print_upload::proto::{UploadSession, upload_session::State};

use super::crash::{Crash, SIZE};
use crate::harness::{App, Backend, Bucket, eventually};

/// The first or second pass over a canceled session.
pub async fn early_pass(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;
    crash.app.ada().send(&session, &bytes, SIZE / 3..SIZE / 2).await.expect("acknowledged");

    let _answer = crash.during(async |app, _| app.ada().delete(&session.name).await).await;

    assert_eq!(crash.state_of(&session).await, State::Canceled);
    crash.make_passes_due().await;
    crash.no_bytes_of(&session).await;
    let job = crash.app.reclaim_job(&session).await;
    assert!(job.is_some(), "only the last pass ends the work");
    crash.upload_again(&session.document, &bytes).await;
    crash.assert_clean().await;
}

/// A second cancel of the same session: the one that ended it may have been the last thing that its replica did.
pub async fn repeated_cancel(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;

    let call = async |app: &App, _: &_| {
        app.ada().delete(&session.name).await.expect("canceled");
        // The program may die before it answers.
        let _answer = app.ada().delete(&session.name).await;
    };
    crash.during(call).await;

    assert_eq!(crash.state_of(&session).await, State::Canceled);
    crash.no_bytes_of(&session).await;
    crash.upload_again(&session.document, &bytes).await;
    crash.assert_clean().await;
}

/// The last pass over a canceled session.
pub async fn last_pass(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;
    crash.app.ada().delete(&session.name).await.expect("canceled");
    two_passes_over(&crash.app, &session).await;
    // What a late writer leaves.
    crash.bucket.leave_orphan(&session).await;

    crash.during(async |app, _| app.make_reclaim_last(&session).await).await;

    crash.make_passes_due().await;
    crash.no_bytes_of(&session).await;
    crash.upload_again(&session.document, &bytes).await;
    crash.assert_clean().await;
}

/// The only pass over a completed session, with an object that is in no manifest.
pub async fn pass_over_a_completed_session(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;
    crash.bucket.leave_orphan(&session).await;
    crash.app.ada().send(&session, &bytes, SIZE / 3..SIZE).await.expect("the rest");

    crash.during(async |app, _| app.make_reclaim_last(&session).await).await;

    crash.assert_downloads(&session.document, &bytes).await;
    assert_eq!(crash.state_of(&session).await, State::Completed);
    crash.assert_clean().await;
}

/// A pass that fails because the store does.
pub async fn failed_pass(crash_at: &'static str, mut bucket: Bucket) {
    let mut proxy = if bucket.backend == Backend::Local { None } else { Some(bucket.put_behind_proxy().await) };
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;
    // A file in place of the session's folder: even root can neither list nor enter it.
    let folder = crash.bucket.session_folder(&session);
    let aside = folder.with_extension("aside");

    let call = async |app: &App, _: &_| {
        match &mut proxy {
            Some(proxy) => proxy.stop().await,
            None => {
                fs::rename(&folder, &aside).expect("moved");
                fs::write(&folder, b"in the way").expect("a file");
            }
        }
        app.ada().delete(&session.name).await
    };
    crash.crash_during(call).await.expect("canceled: the state does not depend on the store");
    match &mut proxy {
        Some(proxy) => proxy.restart().await,
        None => {
            fs::remove_file(&folder).expect("removed");
            fs::rename(&aside, &folder).expect("moved back");
        }
    }
    crash.restart().await;

    assert_eq!(crash.state_of(&session).await, State::Canceled);
    crash.make_passes_due().await;
    crash.no_bytes_of(&session).await;
    crash.upload_again(&session.document, &bytes).await;
    crash.assert_clean().await;
}

async fn two_passes_over(app: &App, session: &UploadSession) {
    let passes = async || app.reclaim_job(session).await.expect("the work is not forgotten").passes;
    eventually("two passes went through", async || passes().await >= 2).await;
}
