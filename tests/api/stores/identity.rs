//! The store is another one than the database belongs to: a volume that is not mounted, another folder.

use std::{fs, path::Path};

use futures_util::future::join_all;
use tonic::{Code, Status};
use uuid::Uuid;

use super::small_store::{Objects, SmallStore};
use crate::harness::{App, Database, ErrorExt, IDENTITY, Operator, Program, eventually, sample_bytes};

fn assert_store_unavailable(what: &str, answer: Result<(), Status>) {
    let refused = answer.expect_err(what);
    assert_eq!(refused.code_and_reason(), (Code::Unavailable, "STORE_UNAVAILABLE".into()), "{what}");
}

async fn watched(app: &mut App) -> (Program, Operator) {
    app.set_flag("admin-listen", "127.0.0.1:0");
    let program = Program::serve(app).await;
    let operator = Operator::of(&program);
    (program, operator)
}

async fn is_not_ready(operator: &Operator, why: &str) {
    let expected = format!("not ready: {why}");
    let is_expected = async || {
        let (status, text) = operator.probe("/readyz").await;
        status == 503 && text.starts_with(&expected)
    };
    eventually(why, is_expected).await;
}

async fn is_healthy(app: &App) -> bool {
    Program::run(&["healthcheck", &format!("--server={}", app.address)]).await.0.success()
}

/// The arguments of a command on the app's data.
fn arguments(app: &App, command: &[&str], flags: &[&str]) -> Vec<String> {
    let own = app.flags().filter(|(flag, _)| flags.is_empty() || flags.contains(flag));
    let own = own.map(|(flag, value)| format!("--{flag}={value}"));
    command.iter().map(|&word| word.to_owned()).chain(own).collect()
}

async fn run(arguments: &[String]) -> (Option<i32>, String) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (status, output) = Program::run(&arguments).await;
    (status.code(), output)
}

fn adopt(app: &App) -> Vec<String> {
    arguments(app, &["store", "adopt"], &["database-url", "store"])
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).expect("a folder").count()
}

/// The identities that the database and the store have.
async fn identities(app: &App) -> (Uuid, Uuid) {
    let rows: Vec<Uuid> =
        sqlx::query_scalar("select store_id from object_store").fetch_all(app.pool()).await.expect("rows");
    let in_store = fs::read_to_string(app.bytes_folder().join(IDENTITY)).expect("an identity");
    let [in_database] = rows.as_slice() else { panic!("{rows:?}") };
    (*in_database, in_store.trim().parse().expect("an id"))
}

#[tokio::test]
async fn while_its_volume_is_not_mounted_nothing_in_a_store_counts_as_gone() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let uploaded = app.new_document().await;
    ada.upload(&uploaded, &bytes).await.expect("an upload");
    let [canceled, other] = [app.new_document().await, app.new_document().await];
    let canceled = ada.create(&canceled, bytes.len()).await.expect("a session");
    let other = ada.create(&other, bytes.len()).await.expect("a session");
    for session in [&canceled, &other] {
        ada.send(session, &bytes, 0..1000).await.expect("a range");
    }
    let (root, volume) = (app.bytes_folder(), app.bytes_folder().with_extension("volume"));
    fs::rename(&root, &volume).expect("moved");
    fs::create_dir(&root).expect("a folder where nothing is mounted");

    ada.delete(&canceled.name).await.expect("deleted");
    app.make_reclaim_last(&canceled).await;
    let attempts = async || app.reclaim_job(&canceled).await.expect("the work is not forgotten").attempts;
    eventually("passes have failed", async || attempts().await >= 3).await;
    assert_store_unavailable("DownloadPrintDocument", ada.download(&uploaded, 0).await.map(drop));
    assert_store_unavailable("UploadRange", ada.send(&other, &bytes, 1000..2000).await.map(drop));
    assert_eq!(ada.get(&other.name).await.expect("the session").received_bytes, 1000);
    assert_eq!(count(&root), 0, "nothing was written there");
    fs::remove_dir(&root).expect("removed");
    assert_store_unavailable("UploadRange", ada.send(&other, &bytes, 1000..2000).await.map(drop));
    assert!(!root.exists(), "its folder was not made");

    fs::rename(&volume, &root).expect("moved back");
    eventually("its bytes are gone", async || app.is_reclaimed(&canceled)).await;
    eventually("the work is done", async || app.reclaim_job(&canceled).await.is_none()).await;
    ada.send(&other, &bytes, 1000..2000).await.expect("the rest");
    for document in [&uploaded, &other.document] {
        assert_eq!(ada.download(document, 0).await.expect("a download").1, bytes);
    }
}

/// The comparison every few seconds would come too late.
#[tokio::test]
async fn no_pass_over_another_bucket_at_the_same_address_is_the_last() {
    let (store, bucket) = SmallStore::start().await;
    let app = bucket.app().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(2000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..1000).await.expect("a range");

    let own = store.replace(Objects::default());
    ada.delete(&session.name).await.expect("deleted");
    app.make_reclaim_last(&session).await;
    let attempts = async || app.reclaim_job(&session).await.expect("the work is not forgotten").attempts;
    eventually("passes have failed", async || attempts().await >= 2).await;

    store.replace(own);
    eventually("the work is done", async || app.reclaim_job(&session).await.is_none()).await;
    assert_eq!(store.names(), [IDENTITY]);
}

#[tokio::test]
async fn another_store_is_not_used_before_it_is_adopted() {
    let (mut app, document) = App::stopped().await;
    let (own, other) = (app.flag("store").to_owned(), tempfile::tempdir().expect("a folder"));
    app.set_flag("store", &format!("file://{}", other.path().display()));
    let (program, operator) = watched(&mut app).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));

    is_not_ready(&operator, "the object store has no identity, but the database belongs to the store ").await;
    assert!(!is_healthy(&app).await);
    let session = ada.create(&document, bytes.len()).await.expect("a session needs no bytes");
    assert_store_unavailable("UploadRange", ada.send(&session, &bytes, 0..1000).await.map(drop));
    assert_eq!(count(other.path()), 0, "nothing was written there");

    let (code, output) = run(&adopt(&app)).await;
    assert!(code == Some(0) && output.contains(", before: "), "{output}");
    eventually("it is ready", async || operator.probe("/readyz").await == (200, "ready".into())).await;
    eventually("it is healthy", async || is_healthy(&app).await).await;
    ada.send(&session, &bytes, 0..1000).await.expect("the document");
    assert_eq!(ada.download(&document, 0).await.expect("a download").1, bytes);
    program.terminate();
    let (_, log) = program.wait_for_end().await;
    assert!(log.contains("run `print-upload store adopt`"), "{log}");

    app.set_flag("store", &own);
    let (_program, operator) = watched(&mut app).await;
    is_not_ready(&operator, "the object store is ").await;
    let (code, output) = run(&adopt(&app)).await;
    assert_eq!(code, Some(0), "{output}");
    eventually("it is ready", async || operator.probe("/readyz").await.0 == 200).await;
    let (in_database, in_store) = identities(&app).await;
    assert_eq!(in_database, in_store);
}

#[tokio::test]
async fn a_start_that_waits_for_a_store_that_does_not_answer_is_logged() {
    let (store, bucket) = SmallStore::start().await;
    let mut app = App::on(Database::create().await, []);
    for (flag, value) in bucket.flags() {
        app.set_flag(flag, &value);
    }
    store.fall_silent();
    let arguments = arguments(&app, &["serve", "--listen=127.0.0.1:0"], &[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Program::start(&arguments).wait_for_line("not ready yet: waiting for the object store").await;
}

#[tokio::test]
async fn the_folder_of_a_store_is_made_only_for_a_database_that_belongs_to_none() {
    let mut app = App::on(Database::create().await, []);
    let _program = Program::serve(&mut app).await;
    let (in_database, in_store) = identities(&app).await;
    assert_eq!(in_database, in_store);
    let (root, volume) = (app.bytes_folder(), app.bytes_folder().with_extension("volume"));
    fs::rename(&root, &volume).expect("moved");

    let (code, output) = run(&arguments(&app, &["serve", "--listen=127.0.0.1:0"], &[])).await;
    assert_eq!((code, output.lines().count()), (Some(1), 1), "{output}");
    assert!(output.contains("does not exist, but the database belongs to the object store"), "{output}");
    let (code, output) = run(&adopt(&app)).await;
    assert!(code == Some(1) && output.contains("does not exist"), "{output}");
    assert!(!root.exists());
}

#[tokio::test]
async fn replicas_that_start_first_at_the_same_time_adopt_one_store() {
    let app = App::on(Database::create().await, []);
    let arguments = arguments(&app, &["serve", "--listen=127.0.0.1:0"], &[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    let replicas = (0..4).map(|_| async {
        let mut program = Program::start(&arguments);
        program.wait_for_line("serving").await;
        program.terminate();
        program.wait_for_end().await.1
    });
    let logs = join_all(replicas).await;

    let (in_database, in_store) = identities(&app).await;
    assert_eq!(in_database, in_store);
    for log in logs {
        assert!(!log.contains("ERROR"), "{log}");
    }
}

#[tokio::test]
async fn a_store_in_memory_has_no_identity() {
    let (mut app, document) = App::stopped().await;
    app.set_flag("store", "memory:///");
    app.run().await;
    let bytes = sample_bytes(1000);
    app.ada().upload(&document, &bytes).await.expect("an upload");
    assert_eq!(app.ada().download(&document, 0).await.expect("a download").1, bytes);
}
