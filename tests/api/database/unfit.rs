//! The database is read-only, or may lose what it has committed.

use print_upload::{proto::upload_session::State, store};
use print_upload_dev::{
    ScratchFolder,
    postgres::{Cluster, Durability},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{assert_unavailable, is_healthy, serve_to_its_end, watched};
use crate::harness::{App, Database, eventually, sample_bytes};

const READ_ONLY: &str = "not ready: the database is read-only (default_transaction_read_only)";

#[tokio::test]
async fn a_database_that_was_read_only_for_a_moment_is_used_again_within_seconds() {
    let (mut app, document) = App::stopped().await;
    let (_program, operator) = watched(&mut app).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..1000).await.expect("a range");

    app.database.set_default("default_transaction_read_only", Some("on")).await;
    app.database.end_connections().await;

    eventually("it is not ready", async || operator.probe("/readyz").await == (503, READ_ONLY.into())).await;
    eventually("it is not healthy", async || !is_healthy(&app).await).await;
    assert_unavailable("UploadRange", ada.send(&session, &bytes, 1000..2000).await.map(drop));
    assert_unavailable("DeleteUploadSession", ada.delete(&session.name).await);
    assert_unavailable("CreateUploadSession", ada.create(&document, 2000).await.map(drop));
    assert_eq!(operator.scrape().await.value("print_upload_database_up"), 0.0);

    // Its connections stay as they are.
    app.database.set_default("default_transaction_read_only", None).await;

    eventually("it is ready", async || operator.probe("/readyz").await == (200, "ready".into())).await;
    eventually("it is healthy", async || is_healthy(&app).await).await;
    let completed = ada.send(&session, &bytes, 1000..2000).await.expect("the rest");
    assert_eq!(completed.state(), State::Completed);
    let other = ada.create(&app.new_document().await, 2000).await.expect("a session");
    ada.delete(&other.name).await.expect("deleted");
}

/// A setting of the server, which also connections that are open follow.
#[tokio::test]
async fn connections_that_turn_read_only_are_given_up() {
    let folder = ScratchFolder::new("read-only").expect("a folder");
    let cluster = Cluster::start(&folder.path().join("postgres"), Durability::Scratch).await.expect("a Postgres");
    store::migrate(cluster.url(), None).await.expect("migrated");
    let mut operator = PgConnection::connect(cluster.url()).await.expect("a connection");
    let mut set = async |statement: &str| {
        for statement in [statement, "select pg_reload_conf()"] {
            sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut operator).await.expect("set");
        }
    };
    let mut app = App::on(Database::at(cluster.url()), []);
    app.run().await;
    app.push_printers().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, 1000).await.expect("a session");

    set("alter system set default_transaction_read_only = on").await;
    let refused = async || app.ada().create(&document, 1000).await;
    eventually("it is read-only", async || refused().await.is_err()).await;
    assert_unavailable("DeleteUploadSession", ada.delete(&session.name).await);
    assert!(!is_healthy(&app).await, "the connections that are opened now are read-only too");

    set("alter system reset default_transaction_read_only").await;
    eventually("calls go through", async || app.ada().create(&document, 1000).await.is_ok()).await;
    ada.delete(&session.name).await.expect("deleted");
    assert!(is_healthy(&app).await);
    app.stop().await;
    cluster.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_database_that_may_lose_commits_is_refused() {
    let (mut app, document) = App::stopped().await;
    app.database.set_default("synchronous_commit", Some("off")).await;
    let (code, output) = serve_to_its_end(&app).await;
    assert_eq!((code, output.lines().count()), (Some(1), 1), "{output}");
    assert!(output.contains("synchronous_commit = off"), "{output}");

    app.database.set_default("synchronous_commit", None).await;
    let (program, operator) = watched(&mut app).await;
    let mut ada = app.ada();
    ada.create(&document, 1000).await.expect("a session");
    app.database.set_default("synchronous_commit", Some("off")).await;
    app.database.end_connections().await;
    let is_refused = async || operator.probe("/readyz").await.1.contains("synchronous_commit = off");
    eventually("it is not ready", is_refused).await;
    assert_unavailable("CreateUploadSession", ada.create(&document, 1000).await.map(drop));

    app.database.set_default("synchronous_commit", None).await;
    eventually("calls go through", async || ada.create(&document, 1000).await.is_ok()).await;
    program.terminate();
    let (_, output) = program.wait_for_end().await;
    // The tests' own Postgres has it.
    assert!(output.contains("the database has fsync = off"), "{output}");
}
