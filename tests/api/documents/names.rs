//! Which session a document's name means when two users have had sessions of it.

use print_upload::proto::{DeleteUploadSessionRequest, UploadSession, upload_session::State};
use tonic::Code;

use crate::harness::{Actor, App, ErrorExt};

/// A document with both of its names, and callers who ask for its session.
struct Stage {
    ada: Actor,
    bob: Actor,
    robot: Actor,
    document: String,
    names: [String; 2],
}

impl Stage {
    async fn set(app: &App) -> Self {
        let document = app.new_document().await;
        let by_share = document.replace("printers/p/", "shares/s/");
        let names = [&document, &by_share].map(|document| format!("{document}/uploadSession"));
        Self { ada: app.ada(), bob: app.bob(), robot: app.robot(), document, names }
    }

    /// Ada, bob and the application ask for the session by the document's names.
    async fn assert_meaning(&mut self, ada: Meaning<'_>, bob: Meaning<'_>, robot: Meaning<'_>) {
        for name in &self.names {
            assert_meaning(&mut self.ada, name, ada).await;
            assert_meaning(&mut self.bob, name, bob).await;
        }
        // Applications cannot use shares.
        assert_meaning(&mut self.robot, &self.names[0], robot).await;
    }
}

#[derive(Debug, Clone, Copy)]
enum Meaning<'a> {
    Session(&'a UploadSession, State),
    NotTheirs,
    Nothing,
}
use Meaning::{NotTheirs, Nothing, Session};

async fn assert_meaning(actor: &mut Actor, name: &str, expected: Meaning<'_>) {
    let found = actor.get(name).await;
    match expected {
        Session(session, state) => {
            let found = found.expect("a session");
            assert_eq!((&found.name, found.state()), (&session.name, state), "{name}");
        }
        NotTheirs => {
            let refused = found.expect_err("not theirs");
            assert_eq!(refused.code_and_reason(), (Code::PermissionDenied, "NOT_SESSION_OWNER".into()), "{name}");
        }
        Nothing => {
            let refused = found.expect_err("nothing");
            assert_eq!(refused.code_and_reason(), (Code::NotFound, "UPLOAD_SESSION_NOT_FOUND".into()), "{name}");
        }
    }
}

#[tokio::test]
async fn a_documents_name_means_ones_own_session_first() {
    let app = App::start().await;
    let mut stage = Stage::set(&app).await;
    let document = stage.document.clone();
    stage.assert_meaning(Nothing, Nothing, Nothing).await;

    let first = stage.ada.create(&document, 1000).await.expect("ada's first");
    stage.assert_meaning(Session(&first, State::Active), NotTheirs, NotTheirs).await;

    stage.ada.delete(&stage.names[0]).await.expect("deleted");
    stage.assert_meaning(Session(&first, State::Canceled), NotTheirs, NotTheirs).await;

    let bobs = stage.bob.create(&document, 1000).await.expect("bob's");
    stage.assert_meaning(Session(&first, State::Canceled), Session(&bobs, State::Active), NotTheirs).await;

    stage.ada.delete(&stage.names[1]).await.expect("her own, again");
    stage.assert_meaning(Session(&first, State::Canceled), Session(&bobs, State::Active), NotTheirs).await;

    stage.bob.delete(&stage.names[0]).await.expect("deleted");
    let second = stage.ada.create(&document, 1000).await.expect("ada's second");
    stage.assert_meaning(Session(&second, State::Active), Session(&bobs, State::Canceled), NotTheirs).await;

    stage.ada.delete(&stage.names[0]).await.expect("deleted");
    stage.assert_meaning(Session(&second, State::Canceled), Session(&bobs, State::Canceled), NotTheirs).await;
    assert_eq!(app.actions_on(&first).await, ["create", "cancel"]);
    assert_eq!(app.actions_on(&bobs).await, ["create", "cancel"]);
}

#[tokio::test]
async fn an_overdue_session_is_an_ended_one() {
    let app = App::start().await;
    let mut stage = Stage::set(&app).await;
    let document = stage.document.clone();
    let overdue = stage.ada.create(&document, 1000).await.expect("ada's");
    let _unswept = app.keep_from_sweeper(&overdue).await;
    app.make_overdue(&overdue).await;
    stage.assert_meaning(Session(&overdue, State::Expired), NotTheirs, NotTheirs).await;

    let bobs = stage.bob.create(&document, 1000).await.expect("bob's");

    stage.assert_meaning(Session(&overdue, State::Expired), Session(&bobs, State::Active), NotTheirs).await;
}

#[tokio::test]
async fn an_etag_means_exactly_that_session_of_the_document() {
    let app = App::start().await;
    let mut stage = Stage::set(&app).await;
    let document = stage.document.clone();
    let older = stage.ada.create(&document, 1000).await.expect("ada's first");
    stage.ada.delete(&older.name).await.expect("deleted");
    let bobs = stage.bob.create(&document, 1000).await.expect("bob's");
    stage.bob.delete(&bobs.name).await.expect("deleted");
    let newer = stage.ada.create(&document, 1000).await.expect("ada's second");

    let denied = Some((Code::PermissionDenied, "NOT_SESSION_OWNER".to_owned()));
    let mismatch = Some((Code::Aborted, "ETAG_MISMATCH".to_owned()));
    let unknown = uuid::Uuid::now_v7().to_string();
    let table = [
        // etag, ada, bob
        (&older.etag, None, denied.clone()),
        (&bobs.etag, denied.clone(), None),
        (&unknown, mismatch.clone(), mismatch),
    ];
    for name in stage.names.clone() {
        for (etag, ada, bob) in &table {
            let request =
                DeleteUploadSessionRequest { name: name.clone(), etag: etag.to_string(), allow_missing: false };
            let answer = stage.ada.delete_with(request.clone()).await.err().map(|error| error.code_and_reason());
            assert_eq!(&answer, ada, "ada, {etag}");
            let answer = stage.bob.delete_with(request).await.err().map(|error| error.code_and_reason());
            assert_eq!(&answer, bob, "bob, {etag}");
        }
    }
    assert_eq!(stage.ada.get(&newer.name).await.expect("hers").state(), State::Active, "nothing newer was touched");

    let request =
        |name: &str| DeleteUploadSessionRequest { name: name.into(), etag: newer.etag.clone(), allow_missing: false };
    let refused = stage.bob.delete_with(request(&stage.names[0])).await.expect_err("not his");
    assert_eq!(Some(refused.code_and_reason()), denied);
    stage.ada.delete_with(request(&stage.names[1])).await.expect("deleted");
    assert_eq!(stage.ada.get(&newer.name).await.expect("hers").state(), State::Canceled);
}

#[tokio::test]
async fn in_another_tenant_there_is_no_such_document_nor_session() {
    let app = App::start().await;
    let stage = &mut Stage::set(&app).await;
    let session = stage.ada.create(&stage.document, 1000).await.expect("a session");
    let mut mallory = app.mallory();

    for (name, reason) in [(&stage.names[0], "DOCUMENT_NOT_FOUND"), (&session.name, "UPLOAD_SESSION_NOT_FOUND")] {
        let refused = mallory.get(name).await.expect_err("not there");
        assert_eq!(refused.code_and_reason(), (Code::NotFound, reason.into()));
        let refused = mallory.delete(name).await.expect_err("not there");
        assert_eq!(refused.code_and_reason(), (Code::NotFound, reason.into()));
    }

    assert_eq!(stage.ada.get(&session.name).await.expect("hers").state(), State::Active);
}
