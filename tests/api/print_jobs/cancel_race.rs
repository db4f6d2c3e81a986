//! A print job is canceled while its upload is created or completed, or while the job is started.

use print_upload::proto::{
    PrintJob, UploadSession, print_job,
    upload_session::{EndReason, State},
};
use sqlx::{Postgres, Transaction};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::harness::{Actor, App, ErrorExt, eventually, sample_bytes};

fn job_canceled() -> (Code, String) {
    (Code::FailedPrecondition, "PRINT_JOB_CANCELED".into())
}

/// Locks a job while the transaction is open: no other transaction can change it, or create a session of it.
async fn lock_job(app: &App, job: &PrintJob) -> Transaction<'static, Postgres> {
    let id = job.name.rsplit('/').next().expect("an id");
    let mut held = app.pool().begin().await.expect("a transaction");
    sqlx::query("select 1 from print_job where job_id = $1 for update")
        .bind(id)
        .fetch_one(&mut *held)
        .await
        .expect("the job's row");
    held
}

/// The results of two calls that wait for the same locked row, one behind the other, and go on in that order.
async fn in_turn<First: Send + 'static, Second: Send + 'static>(
    app: &App,
    locked: Transaction<'static, Postgres>,
    first: impl Future<Output = First> + Send + 'static,
    second: impl Future<Output = Second> + Send + 'static,
) -> (First, Second) {
    let first = tokio::spawn(first);
    eventually("the first one waits", async || app.waiting_statements().await == 1).await;
    let second = tokio::spawn(second);
    eventually("the second one waits", async || app.waiting_statements().await == 2).await;
    locked.rollback().await.expect("the lock is released");
    (first.await.expect("no panic"), second.await.expect("no panic"))
}

/// No upload of a canceled job is active, and what was created is canceled.
async fn assert_no_upload(app: &App, job: &PrintJob, creates: Vec<Result<UploadSession, Status>>) {
    let mut ada = app.ada();
    for created in creates {
        match created {
            Ok(session) => {
                let canceled = ada.get(&session.name).await.expect("the tombstone");
                assert_eq!((canceled.state(), canceled.end_reason()), (State::Canceled, EndReason::PrintJobCanceled));
            }
            Err(status) => assert_eq!(status.code_and_reason(), job_canceled()),
        }
    }
    let active = "select count(*) from upload_session where state = 'active'";
    let active: i64 = sqlx::query_scalar(active).fetch_one(app.pool()).await.expect("a count");
    assert_eq!(active, 0);
    assert_eq!(ada.create(&job.document, 1000).await.expect_err("canceled").code_and_reason(), job_canceled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_canceled_while_its_upload_is_created_has_no_upload() {
    let app = App::start().await;
    for _ in 0..20 {
        let (mut ada, job) = (app.ada(), app.ada().create_job("printers/p").await.expect("a job"));
        let mut creates = JoinSet::new();
        for mut ada in [app.ada(), app.ada(), app.ada(), app.ada()] {
            let document = job.document.clone();
            creates.spawn(async move { ada.create(&document, 1000).await });
        }
        ada.cancel_job(&job.name).await.expect("canceled");
        assert_no_upload(&app, &job, creates.join_all().await).await;
    }
}

#[tokio::test]
async fn a_cancel_that_queues_up_with_four_creates_leaves_no_upload_wherever_it_stands() {
    let app = App::start().await;
    for position in 0..=4 {
        let job = app.ada().create_job("printers/p").await.expect("a job");
        let locked = lock_job(&app, &job).await;
        let (mut creates, mut cancel) = (JoinSet::new(), JoinSet::new());
        for turn in 0..=4 {
            let (mut ada, job) = (app.ada(), job.clone());
            if turn == position {
                cancel.spawn(async move { ada.cancel_job(&job.name).await });
            } else {
                creates.spawn(async move { ada.create(&job.document, 1000).await });
            }
            eventually("it queues up", async || app.waiting_statements().await == turn + 1).await;
        }
        locked.rollback().await.expect("the lock is released");

        cancel.join_all().await.pop().expect("an answer").expect("canceled");
        assert_no_upload(&app, &job, creates.join_all().await).await;
    }
}

/// Either the document is complete, or nothing of it is left, as its uploader was answered.
async fn assert_completed_or_canceled(app: &App, session: &UploadSession, completed: Result<State, Status>) -> State {
    let mut ada = app.ada();
    let ended = ada.get(&session.name).await.expect("the session");
    match completed {
        Ok(state) => {
            assert_eq!((state, ended.state()), (State::Completed, State::Completed));
            assert_eq!(ada.download(&session.document, 0).await.expect("a download").1, sample_bytes(1000));
        }
        Err(status) => {
            assert_eq!(status.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
            assert_eq!((ended.state(), ended.end_reason()), (State::Canceled, EndReason::PrintJobCanceled));
            eventually("its bytes are gone", async || app.is_reclaimed(session)).await;
            let refused = ada.download(&session.document, 0).await.expect_err("nothing to download");
            assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "DOCUMENT_NOT_UPLOADED".into()));
        }
    }
    ended.state()
}

async fn almost_uploaded(ada: &mut Actor) -> (PrintJob, UploadSession) {
    let job = ada.create_job("printers/p").await.expect("a job");
    let session = ada.create(&job.document, 1000).await.expect("a session");
    ada.send(&session, &sample_bytes(1000), 0..400).await.expect("a range");
    (job, session)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_canceled_while_its_upload_completes_has_the_whole_document_or_nothing() {
    let (app, bytes) = (App::start().await, sample_bytes(1000));
    for _ in 0..20 {
        let (mut ada, mut canceler) = (app.ada(), app.ada());
        let (job, session) = almost_uploaded(&mut ada).await;
        let (canceled, completed) = tokio::join!(canceler.cancel_job(&job.name), ada.send(&session, &bytes, 400..1000));
        canceled.expect("canceled");
        assert_completed_or_canceled(&app, &session, completed.map(|answer| answer.state())).await;
        assert_eq!(ada.job(&job.name).await.expect("the job").state(), print_job::State::Canceled);
    }
}

#[tokio::test]
async fn a_cancel_and_a_completing_range_that_meet_at_the_session_take_turns() {
    let app = App::start().await;
    for cancel_first in [true, false] {
        let (job, session) = almost_uploaded(&mut app.ada()).await;
        let locked = app.lock(&session).await;
        let (mut canceler, mut uploader, sent_to) = (app.ada(), app.ada(), session.clone());
        let cancel = async move { canceler.cancel_job(&job.name).await };
        let complete = async move { uploader.send(&sent_to, &sample_bytes(1000), 400..1000).await };

        let (canceled, completed) = if cancel_first {
            in_turn(&app, locked, cancel, complete).await
        } else {
            let (completed, canceled) = in_turn(&app, locked, complete, cancel).await;
            (canceled, completed)
        };

        canceled.expect("canceled");
        let state = assert_completed_or_canceled(&app, &session, completed.map(|answer| answer.state())).await;
        assert_eq!(state, if cancel_first { State::Canceled } else { State::Completed });
    }
}

#[tokio::test]
async fn a_start_and_a_cancel_that_meet_leave_a_canceled_job() {
    let app = App::start().await;
    let mut ada = app.ada();
    for cancel_first in [true, false] {
        let job = ada.create_job("printers/p").await.expect("a job");
        ada.upload(&job.document, &sample_bytes(1000)).await.expect("the document");
        let locked = lock_job(&app, &job).await;
        let (mut canceler, mut starter) = (app.ada(), app.ada());
        let (name, same) = (job.name.clone(), job.name.clone());
        let cancel = async move { canceler.cancel_job(&name).await };
        let start = async move { starter.start_job(&same).await };

        let (canceled, started) = if cancel_first {
            in_turn(&app, locked, cancel, start).await
        } else {
            let (started, canceled) = in_turn(&app, locked, start, cancel).await;
            (canceled, started)
        };

        canceled.expect("canceled");
        match started {
            Ok(started) => assert_eq!((started.name, cancel_first), (job.name.clone(), false)),
            Err(status) => assert_eq!((status.code_and_reason(), cancel_first), (job_canceled(), true)),
        }
        assert_eq!(ada.job(&job.name).await.expect("the job").state(), print_job::State::Canceled);
        assert_eq!(ada.start_job(&job.name).await.expect_err("canceled").code_and_reason(), job_canceled());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_canceled_while_it_is_started_is_canceled() {
    let app = App::start().await;
    let mut ada = app.ada();
    for _ in 0..20 {
        let job = ada.create_job("printers/p").await.expect("a job");
        ada.upload(&job.document, &sample_bytes(10)).await.expect("the document");
        let (mut canceler, mut starter) = (app.ada(), app.ada());
        let (canceled, started) = tokio::join!(canceler.cancel_job(&job.name), starter.start_job(&job.name));
        canceled.expect("canceled");
        if let Err(status) = started {
            assert_eq!(status.code_and_reason(), job_canceled());
        }
        assert_eq!(ada.job(&job.name).await.expect("the job").state(), print_job::State::Canceled);
    }
}
