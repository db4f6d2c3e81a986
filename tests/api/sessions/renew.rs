//! RenewUploadUrl: the upload URLs that went out before are worthless from then on.

use axum::http::Method;
use print_upload::proto::{UploadSession, upload_session::State};
use tonic::Code;

use crate::harness::{Actor, App, ErrorExt, Rpc, SIZE, chunk, eventually, refused, sample_bytes, spans};

fn renewed() -> (Code, String) {
    (Code::Unauthenticated, "UPLOAD_URL_RENEWED".into())
}

/// Fails unless the URL of `session` is refused by every call that an upload URL authorizes, over gRPC and over REST.
async fn assert_worthless(app: &App, session: &UploadSession) {
    let mut holder = app.ada().holder_of(session);
    for rpc in Rpc::BY_UPLOAD_URL {
        let error = holder.call(rpc, &session.name).await.expect_err("an old URL");
        assert_eq!(error.code_and_reason(), renewed(), "{rpc:?}");
    }
    let anyone = app.anonymous_rest();
    for (method, headers) in
        [(Method::GET, vec![]), (Method::DELETE, vec![]), (Method::PUT, vec![("content-range", "bytes 0-9/1000")])]
    {
        let body = if method == Method::PUT { sample_bytes(10) } else { "".into() };
        let answer = anyone.send(method.clone(), &session.upload_url, &headers, body).await;
        assert_eq!(answer.reason(), refused(401, "UPLOAD_URL_RENEWED"), "{method}");
    }
}

#[tokio::test]
async fn urls_that_went_out_before_are_worthless_and_the_new_one_is_not() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(SIZE));
    let created = ada.create(&app.new_document().await, SIZE).await.expect("a session");
    let got = ada.get(&created.name).await.expect("the session");
    ada.holder_of(&got).send(&got, &bytes, 0..500).await.expect("the first half");

    let first = ada.renew(&created.name).await.expect("renewed");
    assert_eq!((first.state(), first.received_bytes, &first.etag), (State::Active, 500, &created.etag));
    assert_eq!(spans(&first.next_expected_ranges), [500..SIZE]);
    for old in [&created, &got] {
        assert_worthless(&app, old).await;
    }
    // Each renewal counts, also by the document's name.
    let of_document = format!("{}/uploadSession", created.document);
    let second = ada.renew(&of_document).await.expect("renewed again");
    assert_worthless(&app, &first).await;

    // Other calls return URLs of the same worth, and renew nothing.
    let again = ada.create(&created.document, SIZE).await.expect("the same session");
    let seen = ada.get(&of_document).await.expect("the session");
    let by_url = ada.holder_of(&second).get(&created.name).await.expect("the session");
    for session in [&again, &seen, &by_url, &second] {
        assert_eq!(session.etag, created.etag);
        ada.holder_of(session).get(&created.name).await.expect("the session");
    }
    ada.holder_of(&second).send(&second, &bytes, 500..700).await.expect("a range");
    ada.send(&created, &bytes, 700..SIZE).await.expect("the owner needs no URL");
    assert_eq!(ada.download(&created.document, 0).await.expect("the document").1, bytes);
}

#[tokio::test]
async fn ranges_that_came_with_an_old_url_are_refused_even_if_they_stall() {
    let app = App::with([("max-writers", "9")]).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(SIZE));
    let session = ada.create(&app.new_document().await, SIZE).await.expect("a session");
    let (_still_held, by_url) = ada.holder_of(&session).stall(&session, &bytes, 0..500);
    let (sender, by_token) = ada.stall(&session, &bytes, 500..SIZE);
    eventually("both are under way", async || app.files_of(&session).len() == 2).await;

    let new = ada.renew(&session.name).await.expect("renewed");

    let error = by_url.await.expect("an answer").expect_err("an old URL");
    assert_eq!(error.code_and_reason(), renewed());
    eventually("its bytes are gone", async || app.files_of(&session).len() == 1).await;
    sender.send(chunk(bytes.slice(SIZE - 1..))).await.expect("the service still reads");
    drop(sender);
    by_token.await.expect("an answer").expect("the owner's range goes on");
    let answer = ada.holder_of(&new).send(&new, &bytes, 0..500).await.expect("the rest");
    assert_eq!(answer.state(), State::Completed);
}

/// The replica does not know of the renewal: the statement that commits the range does.
#[tokio::test]
async fn a_range_that_came_with_an_old_url_is_not_committed() {
    for batch_size in ["1", "64"] {
        let app = App::with([("database-batch-size", batch_size)]).await;
        let (mut ada, bytes) = (app.ada(), sample_bytes(SIZE));
        let session = ada.create(&app.new_document().await, SIZE).await.expect("a session");
        let writers = [ada.holder_of(&session).stall(&session, &bytes, 0..500), ada.stall(&session, &bytes, 500..SIZE)];
        eventually("both are under way", async || app.files_of(&session).len() == 2).await;

        // As another replica does, whose announcement is lost.
        let renew = "update upload_session set url_generation = url_generation + 1 where session_id = $1";
        app.update_row(renew, &session).await;

        let [by_url, by_token] = writers;
        for ((sender, answer), last, is_committed) in [(by_url, 499, false), (by_token, SIZE - 1, true)] {
            // The service may have noticed the renewal already: it checks its writers' sessions every five seconds.
            drop(sender.send(chunk(bytes.slice(last..=last))).await);
            drop(sender);
            let answer = answer.await.expect("an answer").map(drop).map_err(|error| error.code_and_reason());
            assert_eq!(answer, if is_committed { Ok(()) } else { Err(renewed()) });
        }
        let seen = ada.get(&session.name).await.expect("the session");
        assert_eq!(spans(&seen.next_expected_ranges), [0..500], "batches of {batch_size}");
        eventually("one object is left", async || app.files_of(&session).len() == 1).await;
    }
}

/// The statement that commits the range waits for the renewal, and judges the row that the renewal leaves.
#[tokio::test]
async fn a_range_that_is_committed_while_its_url_is_renewed_is_refused() {
    for batch_size in ["1", "64"] {
        let app = App::with([("database-batch-size", batch_size)]).await;
        let (mut ada, bytes) = (app.ada(), sample_bytes(SIZE));
        let session = ada.create(&app.new_document().await, SIZE).await.expect("a session");
        let (sender, answer) = ada.holder_of(&session).stall(&session, &bytes, 0..500);
        eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;

        let mut renewal = app.lock(&session).await;
        let renew = "update upload_session set url_generation = url_generation + 1 where session_id = $1::uuid";
        sqlx::query(renew).bind(&session.etag).execute(&mut *renewal).await.expect("renewed");
        sender.send(chunk(bytes.slice(499..500))).await.expect("the service still reads");
        drop(sender);
        eventually("the commit waits", async || app.waiting_statements().await == 1).await;
        renewal.commit().await.expect("committed");

        let refused = answer.await.expect("an answer").expect_err("an old URL");
        assert_eq!(refused.code_and_reason(), renewed(), "batches of {batch_size}");
        let seen = ada.get(&session.name).await.expect("the session");
        assert_eq!(spans(&seen.next_expected_ranges), [0..SIZE]);
    }
}

async fn refusal(actor: &mut Actor, name: &str) -> (Code, String) {
    actor.renew(name).await.expect_err("refused").code_and_reason()
}

#[tokio::test]
async fn only_the_owner_renews_and_only_an_active_session() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(SIZE));
    let session = ada.create(&app.new_document().await, SIZE).await.expect("a session");
    let not_owner = (Code::PermissionDenied, "NOT_SESSION_OWNER".to_owned());
    assert_eq!(refusal(&mut app.bob(), &session.name).await, not_owner);
    let not_by_url = (Code::PermissionDenied, "UPLOAD_TOKEN_NOT_ACCEPTED".to_owned());
    assert_eq!(refusal(&mut ada.holder_of(&session), &session.name).await, not_by_url);
    assert_eq!(refusal(&mut app.mallory(), &session.name).await, (Code::NotFound, "UPLOAD_SESSION_NOT_FOUND".into()));
    ada.holder_of(&session).get(&session.name).await.expect("nothing has changed");

    let new = ada.renew(&session.name).await.expect("renewed");
    ada.delete(&session.name).await.expect("canceled");
    assert_eq!(refusal(&mut ada, &session.name).await, (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    assert_worthless(&app, &session).await;
    let seen = ada.holder_of(&new).get(&session.name).await.expect("the tombstone");
    assert_eq!(seen.state(), State::Canceled);

    let overdue = ada.create(&session.document, SIZE).await.expect("a session");
    app.make_overdue(&overdue).await;
    assert_eq!(refusal(&mut ada, &overdue.name).await, (Code::Aborted, "UPLOAD_SESSION_EXPIRED".into()));
    let completed = ada.upload(&session.document, &bytes).await.expect("an upload");
    let is_completed = (Code::FailedPrecondition, "UPLOAD_SESSION_COMPLETED".to_owned());
    assert_eq!(refusal(&mut ada, &completed.name).await, is_completed);
}

/// No index has a column that a renewal or a range changes.
#[tokio::test]
async fn renewals_and_ranges_need_no_update_of_an_index() {
    const EACH: usize = 20;
    let mut app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(SIZE));
    let mut session = ada.create(&app.new_document().await, SIZE).await.expect("a session");
    for start in 0..EACH {
        session = ada.renew(&session.name).await.expect("renewed");
        ada.holder_of(&session).send(&session, &bytes, start..start + 1).await.expect("a byte");
    }
    // Postgres counts what a connection has done when it ends.
    app.stop().await;
    let counted = "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'upload_session'";
    let counted = async || sqlx::query_as::<_, (i64, i64)>(counted).fetch_one(app.pool()).await.expect("a count");
    eventually("all updates are counted", async || counted().await.0 >= 2 * EACH as i64).await;
    assert_eq!(counted().await, (2 * EACH as i64, 2 * EACH as i64));
}

#[tokio::test]
async fn it_is_an_action_over_rest() {
    let app = App::start().await;
    let (ada, bytes) = (app.rest(&app.ada()), sample_bytes(SIZE));
    let document = app.new_document().await;
    let mut url = ada.begin(&document, SIZE).await;
    for action in ["renewUploadUrl", "microsoft.graph.renewUploadUrl"] {
        for prefix in ["", "/v1.0", "/beta"] {
            let answer = ada.post(&format!("{prefix}/print/{document}/uploadSession/{action}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(
                (answer.json()["size"].as_u64(), answer.header("cache-control")),
                (Some(SIZE as u64), "no-store")
            );
            assert_eq!(format!("\"{}\"", answer.json()["id"].as_str().expect("an id")), answer.header("etag"));
            assert_eq!(ada.put(&url, &bytes, 0..10).await.reason(), refused(401, "UPLOAD_URL_RENEWED"));
            url = answer.json()["uploadUrl"].as_str().expect("a URL").to_owned();
        }
    }
    assert_eq!(ada.put(&url, &bytes, 0..SIZE).await.status, 201);
    let path = format!("/print/{document}/uploadSession/renewUploadUrl");
    assert_eq!(ada.post(&path).await.reason(), refused(404, "UPLOAD_SESSION_COMPLETED"));
    let canceled = app.new_document().await;
    ada.begin(&canceled, SIZE).await;
    assert_eq!(ada.cancel(&canceled).await.status, 204);
    let answer = ada.post(&format!("/print/{canceled}/uploadSession/renewUploadUrl")).await;
    assert_eq!(answer.reason(), refused(409, "UPLOAD_SESSION_CANCELED"));
}
