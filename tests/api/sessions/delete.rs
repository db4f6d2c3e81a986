//! A deleted session has ended permanently, for everyone, at once.

use print_upload::proto::{UploadSession, upload_session::State};
use tonic::Code;

use crate::harness::{App, AuditRow, ErrorExt, eventually, sample_bytes};

fn canceled() -> (Code, String) {
    (Code::Aborted, "UPLOAD_SESSION_CANCELED".into())
}

async fn state(app: &App, session: &UploadSession) -> State {
    app.ada().get(&session.name).await.expect("the session").state()
}

#[tokio::test]
async fn four_stalled_writers_are_notified_without_sending_another_byte_and_the_delete_waits_for_none() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(400_000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let stalled = [0, 1, 2, 3].map(|n| ada.stall(&session, &bytes, n * 100_000..(n + 1) * 100_000));
    eventually("four writers are under way", async || app.files_of(&session).len() == 4).await;

    ada.delete(&session.name).await.expect("deleted, though every writer still holds its last byte back");

    for (_still_held, answer) in stalled {
        assert_eq!(answer.await.expect("an answer").expect_err("too late").code_and_reason(), canceled());
    }
    assert_eq!(state(&app, &session).await, State::Canceled);
    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
}

#[tokio::test]
async fn a_stalled_writer_is_notified_of_the_delete_through_an_upload_url_too() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let (_still_held, answer) = ada.holder_of(&session).stall(&session, &bytes, 0..1000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;

    ada.holder_of(&session).delete(&session.name).await.expect("deleted");

    assert_eq!(answer.await.expect("an answer").expect_err("too late").code_and_reason(), canceled());
}

#[tokio::test]
async fn deleting_again_is_ok_and_changes_nothing() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, 1000).await.expect("a session");
    ada.delete(&session.name).await.expect("deleted");
    let before = ada.get(&session.name).await.expect("the tombstone");

    for name in [session.name.clone(), format!("{document}/uploadSession"), session.name.clone()] {
        ada.delete(&name).await.expect("deleted again");
    }
    ada.holder_of(&session).delete(&session.name).await.expect("deleted again, by its upload URL");

    assert_eq!(ada.get(&session.name).await.expect("the tombstone"), before);
    assert_eq!(app.actions_on(&session).await, ["create", "cancel"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_deletes_at_once_all_are_ok_and_one_is_in_the_audit_trail() {
    let app = App::start().await;
    for _ in 0..5 {
        let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
        let session = ada.create(&document, bytes.len()).await.expect("a session");
        ada.send(&session, &bytes, 0..500).await.expect("a range");

        let deletes = (0..8).map(|_| {
            let (mut ada, name) = (app.ada(), session.name.clone());
            tokio::spawn(async move { ada.delete_traced(&name).await })
        });
        let mut requests = Vec::new();
        for delete in deletes.collect::<Vec<_>>() {
            requests.push(delete.await.expect("an answer").expect("deleted"));
        }

        let audit = app.audit_of(&session).await;
        let cancels: Vec<_> = audit.iter().filter(|row| row.action == "cancel").collect();
        assert_eq!(cancels.len(), 1, "{audit:?}");
        assert!(requests.contains(cancels[0].request_id.as_ref().expect("a request")), "one of the eight did it");
        assert_eq!(state(&app, &session).await, State::Canceled);
    }
}

#[tokio::test]
async fn the_audit_trail_records_who_deleted_with_what_and_in_which_request() {
    let app = App::start().await;
    let mut ada = app.ada();
    for credential in ["access-token", "upload-url"] {
        let session = ada.create(&app.new_document().await, 1000).await.expect("a session");
        let mut deleter = if credential == "upload-url" { ada.holder_of(&session) } else { ada.clone() };

        let request = deleter.delete_traced(&session.name).await.expect("deleted");

        let expected = AuditRow {
            action: "cancel".into(),
            actor: Some("user:ada".into()),
            credential: credential.into(),
            request_id: Some(request),
        };
        assert_eq!(app.audit_of(&session).await.pop(), Some(expected));
    }
}

#[tokio::test]
async fn an_application_that_deletes_its_session_is_named_as_such() {
    let app = App::start().await;
    let (mut robot, document) = (app.robot(), app.new_document().await);
    let session = robot.create(&document, 1000).await.expect("a session");

    robot.delete(&session.name).await.expect("deleted");

    let canceled = robot.get(&session.name).await.expect("the tombstone");
    assert_eq!((canceled.state(), canceled.ended_by), (State::Canceled, session.owner.clone()));
    let row = app.audit_of(&session).await.pop().expect("an audit row");
    assert_eq!((row.action.as_str(), row.actor.as_deref()), ("cancel", Some("app:robot")));
}

#[tokio::test]
async fn a_new_session_begins_at_once_and_late_ranges_of_the_old_one_never_reach_it() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let (old_bytes, bytes) = (sample_bytes(600_000).slice(1..), sample_bytes(600_000).slice(..599_999));
    let old = ada.create(&document, old_bytes.len()).await.expect("a session");
    ada.send(&old, &old_bytes, 0..200_000).await.expect("a range");
    let (sender, stalled) = ada.stall(&old, &old_bytes, 200_000..400_000);

    ada.delete(&old.name).await.expect("deleted");
    let new = ada.create(&document, bytes.len()).await.expect("a new session");

    assert_ne!(new.name, old.name);
    assert_eq!(new.received_bytes, 0);
    assert_eq!(stalled.await.expect("an answer").expect_err("canceled").code_and_reason(), canceled());
    drop(sender);
    for mut late in [ada.clone(), ada.holder_of(&old)] {
        let refused = late.send(&old, &old_bytes, 400_000..599_999).await.expect_err("a late range");
        assert_eq!(refused.code_and_reason(), canceled());
    }
    assert_eq!(ada.get(&new.name).await.expect("the new session").received_bytes, 0);
    for range in [300_000..599_999, 0..300_000] {
        ada.send(&new, &bytes, range).await.expect("a range of the new session");
    }
    let (_, downloaded) = ada.download(&document, 0).await.expect("a download");
    assert!(downloaded == bytes, "the document is the new session's");
    eventually("the old session's bytes are gone", async || app.is_reclaimed(&old)).await;
    assert_eq!(state(&app, &old).await, State::Canceled);
}

#[tokio::test]
async fn a_caller_who_hangs_up_during_the_delete_cannot_undo_it() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..500).await.expect("a range");
    let (_still_held, answer) = ada.stall(&session, &bytes, 500..1000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 2).await;

    let locked = app.lock(&session).await;
    let (mut deleter, name) = (app.ada(), session.name.clone());
    let delete = tokio::spawn(async move { deleter.delete(&name).await });
    eventually("the delete is under way", async || app.waiting_statements().await == 1).await;
    delete.abort();
    assert!(delete.await.expect_err("hung up").is_cancelled());
    locked.rollback().await.expect("the lock is released");

    assert_eq!(answer.await.expect("an answer").expect_err("canceled").code_and_reason(), canceled());
    assert_eq!(state(&app, &session).await, State::Canceled);
    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
    assert_eq!(app.actions_on(&session).await, ["create", "cancel"]);
}
