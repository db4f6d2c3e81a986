//! Calls that arrive together share a statement. Each gets its own answer, whatever happens to the others.

use std::time::Duration;

use bytes::Bytes;
use print_upload::proto::{UploadSession, upload_session::State};
use sqlx::{Postgres, Transaction};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::assert_unavailable;
use crate::harness::{App, CREDENTIAL, Cut, ErrorExt, Proxy, eventually, sample_bytes};

const OK: (Code, String) = (Code::Ok, String::new());

/// A service with batches, behind a proxy that can hold one of them.
struct Batching {
    app: App,
    proxy: Proxy,
}

/// The calls of one batch, in progress.
struct Calls(JoinSet<(usize, Result<(), Status>)>);

impl Batching {
    async fn start() -> Self {
        let (app, proxy) = App::behind_proxy().await;
        Self { app, proxy }
    }

    async fn sessions(&self, count: usize, size_bytes: usize) -> Vec<UploadSession> {
        let mut sessions = Vec::new();
        for _ in 0..count {
            sessions.push(self.app.ada().create(&self.app.new_document().await, size_bytes).await.expect("a session"));
        }
        sessions
    }

    /// Deletes the sessions at once. The calls wait for the answer to another delete. After a while the service leaves
    /// that behind, and they share the next statement, which is cut if `cut` says so.
    async fn delete_together(&self, sessions: &[UploadSession], cut: Option<Cut>) -> Vec<Result<(), Status>> {
        let first = self.sessions(1, 10).await.remove(0);
        self.proxy.arm(CREDENTIAL, Cut::UntilReleased);
        let mut ada = self.app.ada();
        let holding = tokio::spawn(async move { ada.delete(&first.name).await });
        eventually("a statement is held", async || !self.proxy.is_armed()).await;
        if let Some(cut) = cut {
            self.proxy.arm(CREDENTIAL, cut);
        }
        let calls = Calls::start(sessions, |session| {
            let mut ada = self.app.ada();
            async move { ada.delete(&session.name).await }
        });
        let answers = calls.answers().await;
        self.proxy.release();
        holding.await.expect("an answer").expect("deleted");
        answers
    }

    /// The same with the first range of each session.
    async fn send_together(
        &self,
        sessions: &[UploadSession],
        bytes: &Bytes,
        cut: Option<Cut>,
    ) -> Vec<Result<(), Status>> {
        let first = self.sessions(1, 10).await.remove(0);
        self.proxy.arm(CREDENTIAL, Cut::UntilReleased);
        let (mut ada, whole) = (self.app.ada(), sample_bytes(10));
        let holding = tokio::spawn(async move { ada.send(&first, &whole, 0..10).await });
        eventually("a statement is held", async || !self.proxy.is_armed()).await;
        if let Some(cut) = cut {
            self.proxy.arm(CREDENTIAL, cut);
        }
        let calls = Calls::start(sessions, |session| {
            let (mut ada, bytes) = (self.app.ada(), bytes.clone());
            async move { ada.send(&session, &bytes, 0..10).await.map(drop) }
        });
        let answers = calls.answers().await;
        self.proxy.release();
        holding.await.expect("an answer").expect("sent");
        answers
    }

    async fn states(&self, sessions: &[UploadSession]) -> Vec<State> {
        let mut states = Vec::new();
        for session in sessions {
            states.push(self.app.ada().get(&session.name).await.expect("the session").state());
        }
        states
    }
}

impl Calls {
    fn start<Call>(sessions: &[UploadSession], call: impl Fn(UploadSession) -> Call) -> Self
    where
        Call: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let mut calls = JoinSet::new();
        for (number, session) in sessions.iter().cloned().enumerate() {
            let call = call(session);
            calls.spawn(async move { (number, call.await) });
        }
        Self(calls)
    }

    /// The answers, in the order of the sessions.
    async fn answers(self) -> Vec<Result<(), Status>> {
        let mut answers = self.0.join_all().await;
        answers.sort_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}

/// Gets of a session that hang until the transaction is rolled back: it has locked the table that they read.
async fn hanging_gets(
    app: &App,
    session: &UploadSession,
    count: usize,
) -> (Transaction<'static, Postgres>, JoinSet<Result<(), Status>>) {
    let mut lock = app.pool().begin().await.expect("a transaction");
    sqlx::query("lock table upload_session in access exclusive mode").execute(&mut *lock).await.expect("locked");

    let mut calls = JoinSet::new();
    for _ in 0..count {
        let (mut ada, name) = (app.ada(), session.name.clone());
        calls.spawn(async move { ada.get(&name).await.map(drop) });
    }
    (lock, calls)
}

fn codes(answers: &[Result<(), Status>]) -> Vec<(Code, String)> {
    answers.iter().map(|answer| answer.as_ref().map_or_else(ErrorExt::code_and_reason, |()| OK)).collect()
}

#[tokio::test]
async fn each_delete_of_a_batch_gets_its_own_answer() {
    let batching = Batching::start().await;
    let (app, bytes) = (&batching.app, sample_bytes(10));
    let sessions = batching.sessions(40, 10).await;
    for (number, session) in sessions.iter().enumerate() {
        match number % 4 {
            1 => app.ada().delete(&session.name).await.expect("deleted before"),
            2 => app.make_overdue(session).await,
            3 => drop(app.ada().send(session, &bytes, 0..10).await.expect("completed")),
            _ => {}
        }
    }

    let answers = batching.delete_together(&sessions, None).await;

    let completed = (Code::FailedPrecondition, "UPLOAD_SESSION_COMPLETED".to_owned());
    let expected = (0..40).map(|number| if number % 4 == 3 { completed.clone() } else { OK });
    assert_eq!(codes(&answers), expected.collect::<Vec<_>>());
    let states = [State::Canceled, State::Canceled, State::Expired, State::Completed];
    let expected: Vec<_> = states.into_iter().cycle().take(40).collect();
    assert_eq!(batching.states(&sessions).await, expected);
}

#[tokio::test]
async fn each_session_of_a_batch_of_reads_is_the_one_that_was_named() {
    let batching = Batching::start().await;
    let mut calls = JoinSet::new();
    for (size, session) in (1..).zip(batching.sessions(60, 1000).await) {
        let mut ada = batching.app.ada();
        ada.send(&session, &sample_bytes(1000), 0..size).await.expect("sent");
        calls.spawn(async move { (session.name.clone(), size, ada.get(&session.name).await.expect("the session")) });
    }
    for (name, size, session) in calls.join_all().await {
        assert_eq!((session.name, session.received_bytes), (name, size as i64));
    }
}

#[tokio::test]
async fn a_row_that_somebody_else_has_locked_holds_up_nobody_else() {
    let batching = Batching::start().await;
    let sessions = batching.sessions(10, 10).await;
    let (locked, others) = sessions.split_first().expect("ten");
    let mut lock = batching.app.pool().begin().await.expect("a transaction");
    sqlx::query("select from upload_session where session_id = $1::uuid for update")
        .bind(&locked.etag)
        .execute(&mut *lock)
        .await
        .expect("locked");

    let mut ada = batching.app.ada();
    let name = locked.name.clone();
    let waiting = tokio::spawn(async move { ada.delete(&name).await });
    let answers = batching.delete_together(others, None).await;
    assert_eq!(codes(&answers), vec![OK; 9]);
    assert!(!waiting.is_finished(), "its row is locked");

    lock.rollback().await.expect("unlocked");
    waiting.await.expect("an answer").expect("deleted");
    assert_eq!(batching.states(&sessions).await, [State::Canceled; 10]);
}

#[tokio::test]
async fn a_row_that_fails_its_statement_fails_nobody_else() {
    let batching = Batching::start().await;
    let (sessions, bytes) = (batching.sessions(10, 20).await, sample_bytes(20));
    // The manifest has these bytes already, which the session has not received. The service never writes that.
    let corrupt = "insert into fragment (tenant_id, session_id, start_byte, end_byte, object_id, object_offset, crc32c)
                   select tenant_id, session_id, 0, 10, session_id, 0, 0 from upload_session where session_id = $1";
    batching.app.update_row(corrupt, &sessions[3]).await;

    let answers = batching.send_together(&sessions, &bytes, None).await;

    for (number, (code, _)) in codes(&answers).into_iter().enumerate() {
        assert_eq!(code, if number == 3 { Code::Internal } else { Code::Ok }, "session {number}");
    }
}

#[tokio::test]
async fn deletes_whose_commit_was_never_answered_are_asked_once_more() {
    for cut in [Cut::BeforeTheAnswer, Cut::BeforeTheStatement] {
        let batching = Batching::start().await;
        let sessions = batching.sessions(32, 10).await;

        let answers = batching.delete_together(&sessions, Some(cut)).await;

        assert!(!batching.proxy.is_armed(), "the connection was cut");
        assert_eq!(codes(&answers), vec![OK; 32], "{cut:?}");
        assert_eq!(batching.states(&sessions).await, [State::Canceled; 32]);
        for session in &sessions {
            assert_eq!(batching.app.actions_on(session).await, ["create", "cancel"], "{cut:?}");
        }
    }
}

#[tokio::test]
async fn ranges_whose_commit_was_never_answered_have_an_unknown_outcome_and_keep_their_bytes() {
    let batching = Batching::start().await;
    let (sessions, bytes) = (batching.sessions(32, 20).await, sample_bytes(20));

    let answers = batching.send_together(&sessions, &bytes, Some(Cut::BeforeTheAnswer)).await;

    assert!(!batching.proxy.is_armed(), "the connection was cut");
    let mut unknown = 0;
    for (session, answer) in sessions.iter().zip(answers) {
        if answer.is_err() {
            unknown += 1;
            assert_unavailable("UploadRange", answer);
        }
        // Committed, also if its caller was not told.
        assert_eq!(batching.app.ada().get(&session.name).await.expect("the session").received_bytes, 10);
        let completed = batching.app.ada().send(session, &bytes, 10..20).await.expect("the rest");
        assert_eq!(completed.state(), State::Completed);
        let (_, downloaded) = batching.app.ada().download(&session.document, 0).await.expect("the document");
        assert_eq!(downloaded, bytes);
    }
    assert!(unknown > 1, "{unknown} shared a statement");
}

#[tokio::test]
async fn two_ranges_of_a_session_that_arrive_together_are_both_committed() {
    let app = App::start().await;
    let bytes = sample_bytes(4000);
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let session = app.ada().create(&app.new_document().await, bytes.len()).await.expect("a session");
        for quarter in 0..4 {
            let (mut ada, session, bytes) = (app.ada(), session.clone(), bytes.clone());
            calls.spawn(async move { ada.send(&session, &bytes, quarter * 1000..(quarter + 1) * 1000).await });
        }
    }
    let states: Vec<_> = calls.join_all().await.into_iter().map(|answer| answer.expect("committed").state()).collect();
    assert_eq!(states.iter().filter(|state| **state == State::Completed).count(), 20, "each session once");
}

#[tokio::test]
async fn a_delete_whose_caller_has_gone_is_done() {
    let batching = Batching::start().await;
    let sessions = batching.sessions(2, 10).await;
    let [first, second] = &sessions[..] else { panic!("two") };
    batching.proxy.arm(CREDENTIAL, Cut::UntilReleased);
    let (mut ada, name) = (batching.app.ada(), first.name.clone());
    let holding = tokio::spawn(async move { ada.delete(&name).await });
    eventually("a statement is held", async || !batching.proxy.is_armed()).await;

    let (mut ada, name) = (batching.app.ada(), second.name.clone());
    let leaving = tokio::time::timeout(Duration::from_millis(200), async move { ada.delete(&name).await });
    leaving.await.expect_err("it waits behind the first");
    batching.proxy.release();

    holding.await.expect("an answer").expect("deleted");
    eventually("it is deleted", async || batching.states(&sessions).await == [State::Canceled; 2]).await;
}

#[tokio::test]
async fn more_calls_than_may_wait_are_refused_at_once_and_may_be_retried() {
    let app = App::with([("database-queue-size", "4"), ("database-batch-size", "2")]).await;
    let session = app.ada().create(&app.new_document().await, 10).await.expect("a session");
    let (lock, mut calls) = hanging_gets(&app, &session, 40).await;
    // At most four batches of two run, and two calls of a tenant wait.
    for _ in 0..30 {
        assert_unavailable("GetUploadSession", calls.join_next().await.expect("a call").expect("an answer"));
    }
    lock.rollback().await.expect("unlocked");
    while calls.join_next().await.is_some() {}
    app.ada().get(&session.name).await.expect("the queue has space again");
}

#[tokio::test]
async fn calls_that_wait_behind_statements_that_hang_are_refused_before_those_end() {
    let app = App::with([("database-batch-size", "2")]).await;
    let session = app.ada().create(&app.new_document().await, 10).await.expect("a session");
    let (mut lock, mut calls) = hanging_gets(&app, &session, 12).await;
    // At most four batches of two run.
    for _ in 0..4 {
        assert_unavailable("GetUploadSession", calls.join_next().await.expect("a call").expect("an answer"));
    }
    let hanging =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let hanging: i64 = sqlx::query_scalar(hanging).fetch_one(&mut *lock).await.expect("a count");
    assert!(hanging >= 4, "{hanging} statements hang");
    lock.rollback().await.expect("unlocked");
    while let Some(answer) = calls.join_next().await {
        answer.expect("an answer").expect("the session");
    }
}

#[tokio::test]
async fn without_batches_every_call_runs_alone() {
    let app = App::with([("database-batch-size", "1")]).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(20));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..10).await.expect("sent");
    assert_eq!(ada.get(&session.name).await.expect("the session").received_bytes, 10);
    ada.delete(&session.name).await.expect("deleted");
    ada.delete(&format!("{}/uploadSession", session.document)).await.expect("deleted again, by the document's name");
    assert_eq!(app.actions_on(&session).await, ["create", "cancel"]);
}
