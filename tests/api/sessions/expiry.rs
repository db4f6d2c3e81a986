//! Sessions that end by themselves.

use std::time::{Duration, SystemTime};

use print_upload::proto::{
    UploadSession,
    upload_session::{EndReason, State},
};
use prost_types::Timestamp;
use tonic::Code;

use crate::harness::{App, AuditRow, ErrorExt, eventually, sample_bytes};

const HOUR: Duration = Duration::from_secs(3600);

fn expired() -> (Code, String) {
    (Code::Aborted, "UPLOAD_SESSION_EXPIRED".into())
}

fn time(time: Option<Timestamp>) -> SystemTime {
    time.expect("a time").try_into().expect("a time")
}

/// The time from a session's creation to its current expiry.
fn lifetime(session: &UploadSession) -> Duration {
    time(session.expire_time).duration_since(time(session.create_time)).expect("it ends after it begins")
}

async fn is_swept(app: &App, session: &UploadSession) -> bool {
    app.actions_on(session).await.contains(&"expire".into())
}

#[tokio::test]
async fn every_accepted_range_moves_the_expiry_and_a_refused_one_does_not() {
    let app = App::with([("session-idle-timeout", "1h"), ("session-lifetime", "24h")]).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(3000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    assert_eq!(lifetime(&session), HOUR);

    let mut before = time(session.expire_time);
    for start in [1000, 0] {
        let answer = ada.send(&session, &bytes, start..start + 1000).await.expect("a range");
        assert!(time(answer.expire_time) > before, "it moved");
        before = time(answer.expire_time);
        assert_eq!(time(ada.get(&session.name).await.expect("the session").expire_time), before);
    }

    let repeated = ada.send(&session, &bytes, 0..1000).await.expect_err("received before");
    assert_eq!(repeated.code_and_reason(), (Code::AlreadyExists, "RANGE_ALREADY_RECEIVED".into()));
    let mut shorter = session.clone();
    shorter.properties.as_mut().expect("properties").size_bytes = 2999;
    let mistaken = ada.send(&shorter, &bytes, 2000..2999).await.expect_err("another total");
    assert_eq!(mistaken.code_and_reason(), (Code::InvalidArgument, "INVALID_FIELD".into()));
    assert_eq!(time(ada.get(&session.name).await.expect("the session").expire_time), before, "it stayed");
}

#[tokio::test]
async fn an_idle_session_that_goes_on_has_the_whole_idle_time_again() {
    let app = App::with([("session-idle-timeout", "1h"), ("session-lifetime", "24h")]).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    app.update_row(
        "update upload_session set expire_time = now() + interval '5 minutes' where session_id = $1",
        &session,
    )
    .await;

    let answer = ada.send(&session, &bytes, 0..1000).await.expect("a range");

    assert!(time(answer.expire_time) >= time(session.expire_time), "an hour from now, not five minutes");
}

#[tokio::test]
async fn no_range_moves_the_expiry_past_the_hard_cap() {
    for (idle, cap) in [("1h", "1h"), ("40m", "1h")] {
        let app = App::with([("session-idle-timeout", idle), ("session-lifetime", cap)]).await;
        let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
        let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
        assert!(lifetime(&session) <= HOUR);
        // As if it had been created half an hour ago.
        app.update_row(
            "update upload_session set create_time = create_time - interval '30 minutes',
                 expire_time = expire_time - interval '30 minutes', expire_limit = expire_limit - interval '30 minutes'
             where session_id = $1",
            &session,
        )
        .await;

        ada.send(&session, &bytes, 0..1000).await.expect("a range");

        assert_eq!(lifetime(&ada.get(&session.name).await.expect("the session")), HOUR, "idle time {idle}");
    }
}

#[tokio::test]
async fn a_range_that_began_in_time_is_not_committed_after_the_expiry() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..1000).await.expect("a range");
    let (sender, answer) = ada.stall(&session, &bytes, 1000..2000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 2).await;
    let _unswept = app.keep_from_sweeper(&session).await;
    app.make_overdue(&session).await;

    let last_byte = print_upload::proto::upload_range_request::Content::Chunk(bytes.slice(1999..));
    let message = print_upload::proto::UploadRangeRequest { content: Some(last_byte) };
    sender.send(message).await.expect("the service still reads");
    drop(sender);

    assert_eq!(answer.await.expect("an answer").expect_err("too late").code_and_reason(), expired());
    let session = ada.get(&session.name).await.expect("the session");
    assert_eq!((session.state(), session.received_bytes), (State::Expired, 1000));
}

#[tokio::test]
async fn the_read_that_finds_a_session_overdue_ends_it() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..1000).await.expect("a range");
    let _unswept = app.keep_from_sweeper(&session).await;
    app.make_overdue(&session).await;

    let overdue = ada.get(&session.name).await.expect("the session");

    assert_eq!((overdue.state(), overdue.end_reason()), (State::Expired, EndReason::Expired));
    assert_eq!((overdue.end_time, overdue.ended_by.clone()), (overdue.expire_time, None));
    assert!(overdue.upload_url.is_empty() && overdue.next_expected_ranges.is_empty());
    assert!(is_swept(&app, &session).await, "not by the sweeper");
    assert_eq!(ada.get(&session.name).await.expect("the session"), overdue);
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
}

#[tokio::test]
async fn the_sweeper_notifies_stalled_writers_drops_the_bytes_and_leaves_an_audit_row() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..1000).await.expect("a range");
    let (_still_held, answer) = ada.stall(&session, &bytes, 1000..2000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 2).await;

    app.make_overdue(&session).await;

    assert_eq!(answer.await.expect("an answer").expect_err("expired").code_and_reason(), expired());
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
    let by_itself = AuditRow { action: "expire".into(), actor: None, credential: "none".into(), request_id: None };
    assert_eq!(app.audit_of(&session).await[1..], [by_itself]);
}

#[tokio::test]
async fn a_new_session_replaces_an_overdue_one_and_the_old_writers_are_notified() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(2000));
    let old = ada.create(&document, bytes.len()).await.expect("a session");
    let (_still_held, answer) = ada.stall(&old, &bytes, 0..1000);
    eventually("the writer is under way", async || app.files_of(&old).len() == 1).await;
    let _unswept = app.keep_from_sweeper(&old).await;
    app.make_overdue(&old).await;

    let new = ada.create(&document, bytes.len()).await.expect("a new session");

    assert_ne!(new.name, old.name);
    assert_eq!(answer.await.expect("an answer").expect_err("expired").code_and_reason(), expired());
    assert_eq!(ada.get(&old.name).await.expect("the old session").state(), State::Expired);
    assert_eq!(app.actions_on(&old).await, ["create", "expire"]);
    ada.send(&new, &bytes, 0..2000).await.expect("the whole document");
    assert_eq!(ada.download(&document, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn deleting_an_overdue_session_leaves_it_expired() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    let (_still_held, answer) = ada.stall(&session, &bytes, 0..1000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;
    let _unswept = app.keep_from_sweeper(&session).await;
    app.make_overdue(&session).await;

    ada.delete(&session.name).await.expect("there is nothing left to cancel");

    assert_eq!(answer.await.expect("an answer").expect_err("expired").code_and_reason(), expired());
    assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Expired);
    assert_eq!(app.actions_on(&session).await, ["create", "expire"]);
}

#[tokio::test]
async fn a_completed_session_never_expires() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    let completed = ada.upload(&document, &bytes).await.expect("an uploaded document");
    let other = ada.create(&app.new_document().await, 1000).await.expect("a session that does expire");

    app.make_overdue(&completed).await;
    app.make_overdue(&other).await;
    eventually("the sweeper came by", async || is_swept(&app, &other).await).await;

    assert_eq!(ada.get(&completed.name).await.expect("the session").state(), State::Completed);
    assert_eq!(app.actions_on(&completed).await, ["create", "complete"]);
    assert_eq!(ada.download(&document, 0).await.expect("a download").1, bytes);
}
