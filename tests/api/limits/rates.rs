//! How often a caller may call. A cancel is never refused, whatever is exhausted.

use std::time::Duration;

use tonic::Code;

use crate::harness::{Actor, App, ErrorExt, eventually};

/// Calls until the caller is refused.
async fn exhaust(caller: &mut Actor, session: &str) {
    eventually("the caller makes too many calls", async || {
        caller.get(session).await.is_err_and(|refused| refused.reason() == "TOO_MANY_REQUESTS")
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_calls_too_often_is_refused_and_its_cancels_are_not() {
    let mut app = App::start().await;
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(app.ada().create(&app.new_document().await, 1000).await.expect("a session"));
    }
    let job = app.ada().create_job("printers/p").await.expect("a job");
    let other = app.bob().create(&app.new_document_of("bob").await, 1000).await.expect("bob's session");
    app.stop().await;
    app.set_flag("limit-requests", "2");
    app.run().await;

    let (mut ada, mut holder) = (app.ada(), app.ada().holder_of(&sessions[0]));
    exhaust(&mut ada, &sessions[0].name).await;
    exhaust(&mut holder, &sessions[0].name).await;
    let mut refused = None;
    eventually("a call is refused", async || {
        refused = ada.get(&sessions[0].name).await.err();
        refused.is_some()
    })
    .await;
    let refused = refused.expect("refused");
    assert_eq!(refused.code_and_reason(), (Code::ResourceExhausted, "TOO_MANY_REQUESTS".into()));
    let metadata = ["limit", "max", "window_seconds"].map(|key| refused.metadata_of(key).expect(key));
    assert_eq!(
        (metadata, refused.retry_delay()),
        (["requests", "2", "1"].map(String::from), Some(Duration::from_secs(1)))
    );
    let rest = app.rest(&ada);
    eventually("a request is refused", async || {
        let answer = rest.get("/print/printers/p/jobs/1").await;
        let is_refused = answer.status == 429;
        if is_refused {
            assert_eq!(answer.refusal(), (429, "activityLimitReached".into(), "TOO_MANY_REQUESTS".into()));
            assert_eq!(answer.header("retry-after"), "1");
        }
        is_refused
    })
    .await;
    app.bob().get(&other.name).await.expect("bob has called once");

    holder.delete(&sessions[0].name).await.expect("canceled with the URL");
    for session in &sessions[1..] {
        ada.delete(&session.name).await.expect("canceled");
    }
    ada.cancel_job(&job.name).await.expect("canceled");
}

#[tokio::test]
async fn a_cancel_succeeds_while_everything_is_exhausted() {
    let mut app = App::start().await;
    let mut ada = app.ada();
    let job = ada.create_job("printers/p").await.expect("a job");
    let session = ada.create(&job.document, 1000).await.expect("a session");
    let other = ada.create(&app.new_document().await, 1000).await.expect("another session");
    app.stop().await;
    let flags = [
        ("limit-printer-jobs", "1/10m"),
        ("limit-user-jobs", "1/10m"),
        ("limit-user-jobs-long", "1/12d"),
        ("limit-printer-waiting-jobs", "1"),
        ("limit-user-waiting-jobs", "1"),
        ("limit-user-bytes", "1/15m"),
        ("limit-user-bytes-long", "1/10d"),
        ("limit-tenant-sessions", "1"),
        ("limit-tenant-bytes", "1"),
        ("limit-requests", "1"),
        ("limit-cancels", "100"),
    ];
    for (flag, value) in flags {
        app.set_flag(flag, value);
    }
    app.run().await;
    let mut ada = app.ada();
    exhaust(&mut ada, &session.name).await;
    ada.cancel_job(&job.name).await.expect("canceled");
    ada.delete(&other.name).await.expect("canceled");
    ada.delete(&other.name).await.expect("canceled before");
    let states = "select array_agg(distinct state) from upload_session";
    let states: Vec<String> = sqlx::query_scalar(states).fetch_one(app.pool()).await.expect("states");
    assert_eq!(states, ["canceled"]);
}

#[tokio::test]
async fn cancels_have_a_rate_of_their_own() {
    let app = App::with([("limit-cancels", "100")]).await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, 1000).await.expect("a session");
    // Of a session that does not exist: cancels of the same one would wait for each other.
    let missing = "uploadSessions/01900000-0000-7000-8000-000000000000";
    eventually("too many cancels", async || {
        let deletes: Vec<_> = (0..1000)
            .map(|_| {
                let mut ada = ada.clone();
                tokio::spawn(async move { ada.delete(missing).await })
            })
            .collect();
        let mut is_refused = false;
        for deleted in deletes {
            let refused = deleted.await.expect("no panic").expect_err("it does not exist");
            if refused.reason() != "UPLOAD_SESSION_NOT_FOUND" {
                assert_eq!(refused.reason(), "TOO_MANY_REQUESTS", "{refused:?}");
                assert_eq!(refused.metadata_of("limit").as_deref(), Some("cancels"));
                is_refused = true;
            }
        }
        is_refused
    })
    .await;
    ada.get(&session.name).await.expect("other calls are not cancels");
}
