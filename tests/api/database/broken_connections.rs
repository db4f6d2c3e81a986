//! A connection breaks before a statement, or after its commit and before the answer.

use std::time::Duration;

use print_upload::proto::{Printer, UpsertPrinterRequest, upload_session::State};
use tonic::Code;

use super::assert_unavailable;
use crate::harness::{App, CREDENTIAL, Cut, ErrorExt, TENANT, eventually, sample_bytes};

#[tokio::test]
async fn bytes_whose_commit_was_never_answered_are_kept_for_good() {
    let (app, proxy) = App::behind_proxy().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(3000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");

    proxy.arm(CREDENTIAL, Cut::BeforeTheAnswer);
    assert_unavailable("UploadRange", ada.send(&session, &bytes, 1000..2000).await.map(drop));
    assert!(!proxy.is_armed(), "the connection was cut");

    assert_eq!(ada.get(&session.name).await.expect("the session").received_bytes, 1000);
    let again = ada.send(&session, &bytes, 1000..2000).await.expect_err("it has them");
    assert_eq!(again.code_and_reason(), (Code::AlreadyExists, "RANGE_ALREADY_RECEIVED".into()));
    ada.send_with_crc32c(&session, &bytes, 1000..2000).await.expect("the same bytes, provably");
    ada.send(&session, &bytes, 0..1000).await.expect("the first");

    proxy.arm(CREDENTIAL, Cut::BeforeTheAnswer);
    assert_unavailable("UploadRange", ada.send(&session, &bytes, 2000..3000).await.map(drop));
    assert!(!proxy.is_armed(), "the connection was cut");

    let again = ada.send(&session, &bytes, 2000..3000).await.expect("the exact repeat of the completing range");
    assert_eq!(again.state(), State::Completed);
    app.make_reclaim_last(&session).await;
    eventually("the clean-up is done", async || app.reclaim_job(&session).await.is_none()).await;
    assert_eq!(app.files_of(&session).len(), 3);
    assert_eq!(ada.download(&session.document, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn bytes_whose_commit_never_came_through_are_sent_again_and_reclaimed_at_the_end() {
    let (app, proxy) = App::behind_proxy().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");

    proxy.arm(CREDENTIAL, Cut::BeforeTheStatement);
    assert_unavailable("UploadRange", ada.send(&session, &bytes, 0..1000).await.map(drop));
    assert!(!proxy.is_armed(), "the connection was cut");

    assert_eq!(ada.get(&session.name).await.expect("the session").received_bytes, 0);
    for range in [0..1000, 1000..2000] {
        ada.send(&session, &bytes, range).await.expect("a range");
    }
    app.make_reclaim_last(&session).await;
    eventually("the clean-up is done", async || app.reclaim_job(&session).await.is_none()).await;
    assert_eq!(app.files_of(&session).len(), 2, "nothing is left of the first attempt");
    assert_eq!(ada.download(&session.document, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn a_delete_whose_connection_breaks_is_made_on_another_one_and_happens_once() {
    for cut in [Cut::BeforeTheAnswer, Cut::BeforeTheStatement] {
        let (app, proxy) = App::behind_proxy().await;
        let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
        let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
        ada.send(&session, &bytes, 0..1000).await.expect("a range");

        proxy.arm(CREDENTIAL, cut);
        ada.delete(&session.name).await.expect("deleted");
        assert!(!proxy.is_armed(), "the connection was cut");

        assert_eq!(ada.get(&session.name).await.expect("the tombstone").state(), State::Canceled);
        assert_eq!(app.actions_on(&session).await, ["create", "cancel"], "{cut:?}");
        eventually("nothing is left", async || app.is_reclaimed(&session)).await;
    }
}

#[tokio::test]
async fn the_writers_of_a_session_are_notified_also_when_what_ended_it_was_never_answered() {
    for method in ["DeleteUploadSession", "DeletePrintJob"] {
        let (app, proxy) = App::behind_proxy().await;
        let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
        let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
        let (_still_held, mut answer) = ada.stall(&session, &bytes, 0..1000);
        eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;
        let end = async || match method {
            "DeletePrintJob" => app.catalog().delete_job(&session.document, 2).await,
            _ => app.ada().delete(&session.name).await,
        };

        proxy.arm(CREDENTIAL, Cut::BeforeTheAnswer);
        let ended = end().await;
        assert!(!proxy.is_armed(), "{method}: the connection was cut");
        if method == "DeletePrintJob" {
            assert_unavailable(method, ended);
            end().await.expect("it has happened");
        } else {
            // It was made once more, on another connection.
            ended.expect("deleted");
        }

        let answer = tokio::time::timeout(Duration::from_secs(10), &mut answer).await.expect("the writer is notified");
        let refused = answer.expect("an answer").expect_err("canceled");
        assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()), "{method}");
    }
}

/// The transaction's connection goes back to the pool. If it were still in the transaction, later statements would be
/// part of that: they would be answered, and never committed.
#[tokio::test]
async fn a_transaction_that_is_given_up_as_it_begins_takes_nothing_along() {
    let mut app = App::start().await;
    app.set_flag("database-connections", "1");
    let proxy = app.restart_behind_proxy().await;
    let (mut ada, catalog) = (app.ada(), app.catalog());
    let session = ada.create(&app.new_document().await, 1000).await.expect("a session");
    let printer = |name: String| UpsertPrinterRequest { printer: Some(Printer { name, revision: 2 }) };

    proxy.arm(b"BEGIN", Cut::UntilReleased);
    let mut client = catalog.client.catalog.clone();
    let request = printer(format!("tenants/{TENANT}/printers/p"));
    let beginning = tokio::spawn(async move { client.upsert_printer(request).await });
    eventually("it begins", async || !proxy.is_armed()).await;
    beginning.abort();
    beginning.await.expect_err("its caller has hung up");
    // It uses the same connection. Once it is refused, the service has seen that the first caller has hung up.
    catalog.client.catalog.clone().upsert_printer(printer("nobody's".into())).await.expect_err("refused");
    proxy.release();

    ada.delete(&session.name).await.expect("deleted");
    let committed = sqlx::query_scalar::<_, String>("select state from upload_session where session_id = $1::uuid");
    assert_eq!(committed.bind(&session.etag).fetch_one(app.pool()).await.expect("the row"), "canceled");
}
