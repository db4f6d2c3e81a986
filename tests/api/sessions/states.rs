//! The state table, cell by cell.

use bytes::Bytes;
use print_upload::proto::{UploadSession, upload_session::State};
use sqlx::{Postgres, Transaction};
use tonic::Status;

use crate::harness::{Actor, App, ErrorExt, eventually, sample_bytes};

const SIZE: usize = 3000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Active,
    Canceled,
    Expired,
    /// Past its expiry, and not yet swept.
    Overdue,
    Completed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    SendNewRange,
    RepeatLastRange,
    Get,
    Delete,
    DeleteByDocument,
    Create,
    CreateOther,
    CreateByBob,
}

use Call::{Create, CreateByBob, CreateOther, Delete, DeleteByDocument, Get, RepeatLastRange, SendNewRange};
use Given::{Active, Canceled, Completed, Expired, Overdue};

/// The answer of each call, and the state of the session afterwards.
const TABLE: [(Given, Call, &str, State); 40] = [
    (Active, SendNewRange, "OK ACTIVE", State::Active),
    (Active, RepeatLastRange, "ALREADY_EXISTS RANGE_ALREADY_RECEIVED", State::Active),
    (Active, Get, "OK ACTIVE", State::Active),
    (Active, Delete, "OK", State::Canceled),
    (Active, DeleteByDocument, "OK", State::Canceled),
    (Active, Create, "the same session", State::Active),
    (Active, CreateOther, "ALREADY_EXISTS UPLOAD_SESSION_ACTIVE", State::Active),
    (Active, CreateByBob, "ALREADY_EXISTS UPLOAD_SESSION_ACTIVE", State::Active),
    (Canceled, SendNewRange, "ABORTED UPLOAD_SESSION_CANCELED", State::Canceled),
    (Canceled, RepeatLastRange, "ABORTED UPLOAD_SESSION_CANCELED", State::Canceled),
    (Canceled, Get, "OK CANCELED", State::Canceled),
    (Canceled, Delete, "OK", State::Canceled),
    (Canceled, DeleteByDocument, "OK", State::Canceled),
    (Canceled, Create, "a new session", State::Canceled),
    (Canceled, CreateOther, "a new session", State::Canceled),
    (Canceled, CreateByBob, "a new session", State::Canceled),
    (Expired, SendNewRange, "ABORTED UPLOAD_SESSION_EXPIRED", State::Expired),
    (Expired, RepeatLastRange, "ABORTED UPLOAD_SESSION_EXPIRED", State::Expired),
    (Expired, Get, "OK EXPIRED", State::Expired),
    (Expired, Delete, "OK", State::Expired),
    (Expired, DeleteByDocument, "OK", State::Expired),
    (Expired, Create, "a new session", State::Expired),
    (Expired, CreateOther, "a new session", State::Expired),
    (Expired, CreateByBob, "a new session", State::Expired),
    (Overdue, SendNewRange, "ABORTED UPLOAD_SESSION_EXPIRED", State::Expired),
    (Overdue, RepeatLastRange, "ABORTED UPLOAD_SESSION_EXPIRED", State::Expired),
    (Overdue, Get, "OK EXPIRED", State::Expired),
    (Overdue, Delete, "OK", State::Expired),
    (Overdue, DeleteByDocument, "OK", State::Expired),
    (Overdue, Create, "a new session", State::Expired),
    (Overdue, CreateOther, "a new session", State::Expired),
    (Overdue, CreateByBob, "a new session", State::Expired),
    (Completed, SendNewRange, "FAILED_PRECONDITION UPLOAD_SESSION_COMPLETED", State::Completed),
    (Completed, RepeatLastRange, "OK COMPLETED", State::Completed),
    (Completed, Get, "OK COMPLETED", State::Completed),
    (Completed, Delete, "FAILED_PRECONDITION UPLOAD_SESSION_COMPLETED", State::Completed),
    (Completed, DeleteByDocument, "FAILED_PRECONDITION UPLOAD_SESSION_COMPLETED", State::Completed),
    (Completed, Create, "FAILED_PRECONDITION DOCUMENT_ALREADY_UPLOADED", State::Completed),
    (Completed, CreateOther, "FAILED_PRECONDITION DOCUMENT_ALREADY_UPLOADED", State::Completed),
    (Completed, CreateByBob, "FAILED_PRECONDITION DOCUMENT_ALREADY_UPLOADED", State::Completed),
];

/// A session of ada's in a given state.
struct Story {
    document: String,
    session: UploadSession,
    bytes: Bytes,
    /// Keeps the sweeper from an overdue session.
    _unswept: Option<Transaction<'static, Postgres>>,
}

async fn given(app: &App, given: Given) -> Story {
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(SIZE));
    let session = ada.create(&document, SIZE).await.expect("a session");
    ada.send(&session, &bytes, 0..1000).await.expect("a range");
    let mut unswept = None;
    match given {
        Active => {}
        Canceled => ada.delete(&session.name).await.expect("deleted"),
        Expired => {
            app.make_overdue(&session).await;
            eventually("it is swept", async || app.actions_on(&session).await == ["create", "expire"]).await;
        }
        Overdue => {
            unswept = Some(app.keep_from_sweeper(&session).await);
            app.make_overdue(&session).await;
        }
        Completed => drop(ada.send(&session, &bytes, 1000..SIZE).await.expect("the rest")),
    }
    Story { document, session, bytes, _unswept: unswept }
}

/// Makes the call, and returns its answer in words.
async fn answer(app: &App, story: &Story, given: Given, call: Call) -> String {
    let (mut ada, Story { document, session, bytes, .. }) = (app.ada(), story);
    let last_range = if given == Completed { 1000..SIZE } else { 0..1000 };
    match call {
        SendNewRange => in_words(ada.send(session, bytes, 1000..2000).await.map(|answer| answer.state())),
        RepeatLastRange => in_words(ada.send(session, bytes, last_range).await.map(|answer| answer.state())),
        Get => in_words(ada.get(&session.name).await.map(|session| session.state())),
        Delete => ada.delete(&session.name).await.map_or_else(refusal, |()| "OK".into()),
        DeleteByDocument => {
            ada.delete(&format!("{document}/uploadSession")).await.map_or_else(refusal, |()| "OK".into())
        }
        Create => created(session, ada.create(document, SIZE).await),
        CreateOther => created(session, ada.create(document, SIZE + 1).await),
        CreateByBob => created(session, app.bob().create(document, SIZE).await),
    }
}

fn in_words(answer: Result<State, Status>) -> String {
    answer.map_or_else(refusal, |state| format!("OK {}", state.as_str_name().trim_start_matches("STATE_")))
}

fn created(before: &UploadSession, answer: Result<UploadSession, Status>) -> String {
    match answer {
        Ok(session) if session.name == before.name => "the same session".into(),
        Ok(session) => {
            assert_eq!((session.state(), session.received_bytes), (State::Active, 0));
            "a new session".into()
        }
        Err(refused) => refusal(refused),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where a function of the error is wanted")]
fn refusal(refused: Status) -> String {
    let (code, reason) = refused.code_and_reason();
    let code = match code {
        tonic::Code::Aborted => "ABORTED",
        tonic::Code::AlreadyExists => "ALREADY_EXISTS",
        tonic::Code::FailedPrecondition => "FAILED_PRECONDITION",
        other => panic!("{other:?} is in no cell of the table: {refused:?}"),
    };
    format!("{code} {reason}")
}

#[tokio::test]
async fn every_cell_of_the_state_table_holds_and_a_terminal_state_never_changes() {
    let app = App::start().await;
    let mut ada: Actor = app.ada();
    let mut wrong = Vec::new();
    for (state, call, expected, state_after) in TABLE {
        let story = given(&app, state).await;
        let before = ada.get(&story.session.name).await.expect("the session");

        let answer = answer(&app, &story, state, call).await;

        let after = ada.get(&story.session.name).await.expect("the session");
        if answer != expected || after.state() != state_after {
            wrong.push(format!("{state:?} {call:?}: {answer}, then {:?}", after.state()));
        }
        // An ended session does not change in any field.
        if before.state() != State::Active && after != before {
            wrong.push(format!("{state:?} {call:?} changed an ended session: {before:?} became {after:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_conflicting_create_names_the_active_session() {
    let app = App::start().await;
    let Story { document, session, .. } = given(&app, Active).await;
    for conflict in [app.bob().create(&document, SIZE).await, app.ada().create(&document, SIZE + 1).await] {
        let info = tonic_types::StatusExt::get_details_error_info(&conflict.expect_err("a conflict")).expect("details");
        assert_eq!(info.metadata.get("session"), Some(&session.name));
    }
}

#[tokio::test]
async fn creating_again_gives_a_fresh_upload_url_to_the_same_session() {
    let app = App::start().await;
    let Story { document, session, bytes, .. } = given(&app, Active).await;

    let again = app.ada().create(&document, SIZE).await.expect("the same session");

    assert_eq!((again.name.as_str(), again.received_bytes), (session.name.as_str(), 1000));
    app.ada().holder_of(&again).send(&again, &bytes, 1000..2000).await.expect("the fresh URL works");
    assert_eq!(app.actions_on(&session).await, ["create"]);
}
