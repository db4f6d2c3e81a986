//! Crashes while a session is canceled or expires.

use print_upload::proto::upload_session::State;

use super::crash::Crash;
use crate::harness::Bucket;

pub async fn cancel(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;

    // The response may arrive before the program dies: it does not wait for the announcement.
    let _answer = crash.during(async |app, _| app.ada().delete(&session.name).await).await;

    assert_eq!(crash.state_of(&session).await, State::Canceled, "the statement was answered before each point");
    crash.no_bytes_of(&session).await;
    crash.app.ada().send(&session, &bytes, 0..bytes.len()).await.expect_err("a cancel is final");
    crash.app.ada().delete(&session.name).await.expect("canceled, now or before");
    assert_eq!(crash.app.actions_on(&session).await, ["create", "cancel"]);
    crash.upload_again(&session.document, &bytes).await;
    crash.assert_clean().await;
}

pub async fn expire(crash_at: &'static str, bucket: Bucket) {
    let mut crash = Crash::at(crash_at, bucket).await;
    let (session, bytes) = crash.begun_session().await;

    crash.during(async |app, _| app.make_overdue(&session).await).await;

    assert_eq!(crash.state_of(&session).await, State::Expired);
    crash.no_bytes_of(&session).await;
    assert_eq!(crash.app.actions_on(&session).await, ["create", "expire"]);
    crash.upload_again(&session.document, &bytes).await;
    crash.assert_clean().await;
}
