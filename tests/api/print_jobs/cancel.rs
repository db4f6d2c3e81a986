//! A canceled print job ends its upload, accepts no new one, and stays canceled.

use print_upload::proto::{
    CancelPrintJobRequest, Principal, PrintJob, UploadSession,
    principal::Identity,
    print_document, print_job,
    upload_session::{EndReason, State},
};
use tonic::{Code, Status};

use crate::harness::{Actor, App, AuditRow, ErrorExt, Rpc, TENANT, eventually, sample_bytes};

impl Actor {
    /// Cancels a job, and returns the id of the request.
    async fn cancel_job_traced(&mut self, name: &str) -> Result<String, Status> {
        let answer = self.client.jobs.cancel_print_job(CancelPrintJobRequest { name: name.into() }).await?;
        let id = answer.metadata().get("request-id").expect("a request id");
        Ok(id.to_str().expect("text").to_owned())
    }
}

fn upload_canceled() -> (Code, String) {
    (Code::Aborted, "UPLOAD_SESSION_CANCELED".into())
}

fn job_canceled() -> (Code, String) {
    (Code::FailedPrecondition, "PRINT_JOB_CANCELED".into())
}

fn user(oid: &str) -> Option<Principal> {
    Some(Principal { identity: Some(Identity::User(oid.into())) })
}

/// A job with an upload under way.
async fn uploading(ada: &mut Actor) -> (PrintJob, UploadSession) {
    let job = ada.create_job("printers/p").await.expect("a job");
    let session = ada.create(&job.document, 1000).await.expect("a session");
    ada.send(&session, &sample_bytes(1000), 0..400).await.expect("a range");
    (job, session)
}

#[tokio::test]
async fn canceling_a_job_cancels_its_upload_and_notifies_the_stalled_writers() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let (job, session) = uploading(&mut ada).await;
    let (_, spared) = uploading(&mut ada).await;
    let stalled = [ada.stall(&session, &bytes, 400..700), ada.holder_of(&session).stall(&session, &bytes, 700..1000)];
    eventually("two writers are under way", async || app.files_of(&session).len() == 3).await;

    ada.cancel_job(&job.name).await.expect("canceled, though every writer still holds its last byte back");

    for (_still_held, answer) in stalled {
        assert_eq!(answer.await.expect("an answer").expect_err("too late").code_and_reason(), upload_canceled());
    }
    let canceled = ada.get(&session.name).await.expect("the tombstone");
    assert_eq!((canceled.state(), canceled.end_reason()), (State::Canceled, EndReason::PrintJobCanceled));
    assert_eq!(canceled.ended_by, user("ada"));
    assert!(canceled.end_time.is_some() && canceled.upload_url.is_empty());
    assert!(canceled.next_expected_ranges.is_empty());
    for mut late in [ada.clone(), ada.holder_of(&session)] {
        let refused = late.send(&session, &bytes, 400..1000).await.expect_err("a late range");
        assert_eq!(refused.code_and_reason(), upload_canceled());
    }
    let expected = PrintJob { state: print_job::State::Canceled.into(), upload_pending: false, ..job };
    assert_eq!(ada.job(&expected.name).await.expect("the job"), expected);
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
    ada.send(&spared, &bytes, 400..1000).await.expect("another job's upload goes on");
}

#[tokio::test]
async fn the_audit_trail_names_who_canceled_the_job_and_in_which_request() {
    let app = App::start().await;
    let mut ada = app.ada();
    for (mut canceler, oid) in [(app.ada(), "ada"), (app.bob(), "bob")] {
        let (job, session) = uploading(&mut ada).await;

        let request = canceler.cancel_job_traced(&job.name).await.expect("canceled");

        let expected = AuditRow {
            action: "cancel".into(),
            actor: Some(format!("user:{oid}")),
            credential: "access-token".into(),
            request_id: Some(request),
        };
        assert_eq!(app.audit_of(&session).await.pop(), Some(expected));
        let canceled = ada.get(&session.name).await.expect("the tombstone");
        assert_eq!((canceled.ended_by, canceled.owner), (user(oid), user("ada")), "whoever owned the upload");
        assert_eq!(ada.job(&job.name).await.expect("the job").creator, user("ada"));
    }
}

#[tokio::test]
async fn whoever_may_not_cancel_a_job_leaves_it_and_its_upload_alone() {
    let app = App::start().await;
    let mut ada = app.ada();
    let (job, session) = uploading(&mut ada).await;
    let before = ada.get(&session.name).await.expect("the session");
    let mut carl = app.user(TENANT, "carl", &["PrintJob.ReadWrite", "Printer.Read.All"]);
    let refusals = [
        (carl.cancel_job(&job.name).await, Code::PermissionDenied, "NOT_JOB_CREATOR"),
        (app.mallory().cancel_job(&job.name).await, Code::NotFound, "PRINT_JOB_NOT_FOUND"),
        (app.robot().cancel_job(&job.name).await, Code::PermissionDenied, "PERMISSION_MISSING"),
        (ada.holder_of(&session).cancel_job(&job.name).await, Code::PermissionDenied, "UPLOAD_TOKEN_NOT_ACCEPTED"),
    ];
    for (answer, code, reason) in refusals {
        assert_eq!(answer.expect_err(reason).code_and_reason(), (code, reason.into()));
    }
    assert_eq!(ada.job(&job.name).await.expect("the job"), job);
    assert_eq!(ada.get(&session.name).await.expect("the session"), before);
    ada.send(&session, &sample_bytes(1000), 400..1000).await.expect("the upload goes on");
}

#[tokio::test]
async fn a_canceled_job_takes_no_new_upload_from_anybody() {
    let app = App::start().await;
    let mut ada = app.ada();
    for had_upload in [false, true] {
        // The robot has a task on this job. Without the cancel it would be authorized.
        let document = app.new_document().await;
        if had_upload {
            ada.create(&document, 1000).await.expect("a session");
        }
        let job = Rpc::CancelPrintJob.resource(&document, "");
        ada.cancel_job(&job).await.expect("canceled");

        for mut uploader in [app.ada(), app.bob(), app.robot()] {
            for size in [1000, 1001] {
                let refused = uploader.create(&document, size).await.expect_err("canceled");
                assert_eq!(refused.code_and_reason(), job_canceled());
            }
        }
        let pending = ada.document(&document).await.expect("the document");
        assert_eq!(pending.state(), print_document::State::UploadPending, "nothing of it is there");
    }
}

#[tokio::test]
async fn canceling_again_is_ok_and_changes_nothing() {
    let app = App::start().await;
    let mut ada = app.ada();
    let (job, session) = uploading(&mut ada).await;
    ada.cancel_job(&job.name).await.expect("canceled");
    let (canceled, tombstone) = (ada.job(&job.name).await, ada.get(&session.name).await);
    let (canceled, tombstone) = (canceled.expect("the job"), tombstone.expect("the tombstone"));
    let since = "select array_agg(cancel_time::text) from print_job";
    let before: Vec<String> = sqlx::query_scalar(since).fetch_one(app.pool()).await.expect("when");

    let by_share = job.name.replacen("printers/p/", "shares/s/", 1);
    for (mut canceler, name) in [(app.ada(), &job.name), (app.ada(), &by_share), (app.bob(), &job.name)] {
        canceler.cancel_job(name).await.expect("canceled again");
    }
    ada.delete(&session.name).await.expect("deleting a canceled session is OK");

    assert_eq!(ada.job(&job.name).await.expect("the job"), canceled);
    assert_eq!(ada.get(&session.name).await.expect("the tombstone"), tombstone);
    assert_eq!(app.actions_on(&session).await, ["create", "cancel"]);
    let after: Vec<String> = sqlx::query_scalar(since).fetch_one(app.pool()).await.expect("when");
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_uploaded_document_stays_downloadable_when_its_job_is_canceled_started_or_not() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    for is_started in [false, true] {
        let (job, session) = uploading(&mut ada).await;
        ada.send(&session, &bytes, 400..1000).await.expect("the completing range");
        if is_started {
            ada.start_job(&job.name).await.expect("started");
        }
        let before = ada.document(&job.document).await.expect("the document");

        ada.cancel_job(&job.name).await.expect("canceled");

        let canceled = PrintJob { state: print_job::State::Canceled.into(), upload_pending: false, ..job };
        assert_eq!(ada.job(&canceled.name).await.expect("the job"), canceled);
        // Also after everything that is not needed was dropped.
        app.make_reclaim_last(&session).await;
        eventually("reclaiming has ended", async || app.reclaim_job(&session).await.is_none()).await;
        assert_eq!(ada.download(&canceled.document, 0).await.expect("a download"), (before, bytes.to_vec()));
        let completed = ada.get(&session.name).await.expect("the session");
        assert_eq!((completed.state(), completed.end_reason()), (State::Completed, EndReason::UploadCompleted));
        let refused = ada.create(&canceled.document, 1000).await.expect_err("canceled");
        assert_eq!(refused.code_and_reason(), job_canceled());
        assert_eq!(app.actions_on(&session).await, ["create", "complete"]);
    }
}

#[tokio::test]
async fn an_overdue_session_of_a_canceled_job_has_expired_instead() {
    let app = App::start().await;
    let mut ada = app.ada();
    let (job, session) = uploading(&mut ada).await;
    app.make_overdue(&session).await;

    ada.cancel_job(&job.name).await.expect("canceled");

    let expired = ada.get(&session.name).await.expect("the tombstone");
    assert_eq!((expired.state(), expired.end_reason()), (State::Expired, EndReason::Expired));
    assert_eq!(expired.ended_by, None);
    assert_eq!(app.actions_on(&session).await, ["create", "expire"]);
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
    assert_eq!(ada.job(&job.name).await.expect("the job").state(), print_job::State::Canceled);
    let refused = ada.create(&job.document, 1000).await.expect_err("canceled");
    assert_eq!(refused.code_and_reason(), job_canceled());
}

#[tokio::test]
async fn a_caller_who_hangs_up_during_the_cancel_cannot_undo_it() {
    let app = App::start().await;
    let mut ada = app.ada();
    let (job, session) = uploading(&mut ada).await;
    let (_still_held, answer) = ada.stall(&session, &sample_bytes(1000), 400..1000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 2).await;

    let locked = app.lock(&session).await;
    let (mut canceler, name) = (app.ada(), job.name.clone());
    let cancel = tokio::spawn(async move { canceler.cancel_job(&name).await });
    eventually("the cancel is under way", async || app.waiting_statements().await == 1).await;
    cancel.abort();
    assert!(cancel.await.expect_err("hung up").is_cancelled());
    locked.rollback().await.expect("the lock is released");

    assert_eq!(answer.await.expect("an answer").expect_err("canceled").code_and_reason(), upload_canceled());
    assert_eq!(ada.get(&session.name).await.expect("the tombstone").end_reason(), EndReason::PrintJobCanceled);
    assert_eq!(ada.job(&job.name).await.expect("the job").state(), print_job::State::Canceled);
    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
    assert_eq!(app.actions_on(&session).await, ["create", "cancel"]);
}
