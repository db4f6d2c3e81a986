//! The database gone, or cut off at the worst moment.

use std::time::Duration;

use print_upload::proto::{
    self, DownloadPrintDocumentRequest, GetPrintDocumentRequest, Printer, UploadSession, UpsertPrinterRequest,
    upload_session::State,
};
use sqlx::postgres::PgConnectOptions;
use tonic::{Code, Status};

use crate::harness::{App, Cut, ErrorExt, Proxy, TENANT, eventually, sample_bytes};

/// A parameter of every statement that changes a session on a caller's behalf, and of no other.
pub const CREDENTIAL: &[u8] = b"access-token";

/// A service whose way to Postgres can be broken. The test's own way in cannot.
pub async fn behind_a_proxy() -> (App, Proxy) {
    let mut app = App::start().await;
    let proxy = put_behind_a_proxy(&mut app).await;
    (app, proxy)
}

/// Starts a service again, with its way to Postgres through a proxy.
pub async fn put_behind_a_proxy(app: &mut App) -> Proxy {
    app.stop().await;
    let direct: PgConnectOptions = app.database.url.parse().expect("an address");
    let target = tokio::net::lookup_host((direct.get_host(), direct.get_port())).await.expect("a host").next();
    let proxy = Proxy::start(target.expect("an address")).await;
    let through = format!("127.0.0.1:{}", proxy.port.address.port());
    let url = app.database.url.replace(&format!("{}:{}", direct.get_host(), direct.get_port()), &through);
    assert!(url.contains(&through), "{url}");
    app.set_flag("database-url", &url);
    app.run().await;
    proxy
}

pub fn assert_unavailable(what: &str, answer: Result<(), Status>) {
    let error = answer.expect_err(what);
    assert_eq!(error.code_and_reason(), (Code::Unavailable, "DATABASE_UNAVAILABLE".into()), "{what}");
    assert!(error.retry_delay().is_some_and(|delay| delay > Duration::ZERO), "{what}");
}

/// Makes every call there is; by name, what each answered.
async fn call_everything(app: &App, session: &UploadSession) -> Vec<(&'static str, Result<(), Status>)> {
    let (bytes, name, document) = (sample_bytes(2000), session.name.as_str(), session.document.as_str());
    let by_document = format!("{document}/uploadSession");
    let ada = app.ada();
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g] = std::array::from_fn(|_| ada.clone());
    let [mut url_get, mut url_send] = std::array::from_fn(|_| ada.holder_of(session));
    let document_request = GetPrintDocumentRequest { name: document.into() };
    let download = DownloadPrintDocumentRequest { name: document.into(), offset: 0 };
    let answers = tokio::join!(
        a.create(document, 2000),
        b.get(name),
        c.get(&by_document),
        d.send(session, &bytes, 0..1000),
        e.delete(name),
        f.client.documents.get_print_document(document_request),
        g.client.documents.download_print_document(download),
        url_get.get(name),
        url_send.send(session, &bytes, 0..1000),
        call_the_catalog(app),
    );
    let mut all = vec![
        ("CreateUploadSession", answers.0.map(drop)),
        ("GetUploadSession", answers.1.map(drop)),
        ("GetUploadSession by document", answers.2.map(drop)),
        ("UploadRange", answers.3.map(drop)),
        ("DeleteUploadSession", answers.4),
        ("GetPrintDocument", answers.5.map(drop)),
        ("DownloadPrintDocument", answers.6.map(drop)),
        ("GetUploadSession by upload URL", answers.7.map(drop)),
        ("UploadRange by upload URL", answers.8.map(drop)),
    ];
    all.extend(answers.9);
    all
}

async fn call_the_catalog(app: &App) -> Vec<(&'static str, Result<(), Status>)> {
    let catalog = app.catalog().client.catalog;
    let [mut a, mut b, mut c, mut d, mut e, mut f] = std::array::from_fn(|_| catalog.clone());
    let name = |entry: &str| format!("tenants/{TENANT}{entry}");
    let user = proto::principal::Identity::User("ada".into());
    let tenant = proto::Tenant { name: name(""), subscription_active: true, revision: 2 };
    let printer = proto::Printer { name: name("/printers/p"), revision: 2 };
    let printer_share = proto::PrinterShare { name: name("/shares/s"), printer: "p".into(), revision: 2 };
    let print_job = proto::CatalogPrintJob {
        name: name("/printers/p/jobs/1"),
        creator: Some(proto::Principal { identity: Some(user) }),
        document: uuid::Uuid::new_v4().to_string(),
        revision: 2,
    };
    let print_task = proto::PrintTask {
        name: name("/printers/p/jobs/1/tasks/1"),
        trigger_application: "robot".into(),
        state: proto::print_task::State::Processing.into(),
        revision: 2,
    };
    let deleted = proto::DeletePrintJobRequest { name: name("/printers/p/jobs/2"), ..Default::default() };
    let answers = tokio::join!(
        a.upsert_tenant(proto::UpsertTenantRequest { tenant: Some(tenant) }),
        b.upsert_printer(proto::UpsertPrinterRequest { printer: Some(printer) }),
        c.upsert_printer_share(proto::UpsertPrinterShareRequest { printer_share: Some(printer_share) }),
        d.upsert_print_job(proto::UpsertPrintJobRequest { print_job: Some(print_job) }),
        e.upsert_print_task(proto::UpsertPrintTaskRequest { print_task: Some(print_task) }),
        f.delete_print_job(deleted),
    );
    vec![
        ("UpsertTenant", answers.0.map(drop)),
        ("UpsertPrinter", answers.1.map(drop)),
        ("UpsertPrinterShare", answers.2.map(drop)),
        ("UpsertPrintJob", answers.3.map(drop)),
        ("UpsertPrintTask", answers.4.map(drop)),
        ("DeletePrintJob", answers.5.map(drop)),
    ]
}

#[tokio::test]
async fn without_its_database_every_call_is_unavailable_and_the_service_recovers_by_itself() {
    let (app, mut proxy) = behind_a_proxy().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");

    for _ in 0..2 {
        proxy.go_away().await;
        for (call, answer) in call_everything(&app, &session).await {
            assert_unavailable(call, answer);
        }
        proxy.come_back().await;
        eventually("the service answers", async || app.ada().get(&session.name).await.is_ok()).await;
    }

    let seen = ada.get(&session.name).await.expect("the session");
    assert_eq!((seen.state(), seen.received_bytes), (State::Active, 0));
    ada.send(&session, &bytes, 0..2000).await.expect("the whole document");
    assert_eq!(ada.download(&session.document, 0).await.expect("a download").1, bytes);
    let strays = app.files_of(&session).len() - 1;
    app.make_reclaim_last(&session).await;
    eventually("the sweeper works again", async || app.reclaim_job(&session).await.is_none()).await;
    assert_eq!((strays, app.files_of(&session)), (0, app.manifest_of(&session).await));
}

#[tokio::test]
async fn connections_that_fall_silent_are_given_up() {
    let (app, proxy) = behind_a_proxy().await;
    let mut ada = app.ada();
    let session = ada.create(&app.new_document().await, 1000).await.expect("a session");
    let frozen = app.freeze(&session).await;
    // As many as there are connections: each holds one when it falls silent.
    let deletions: Vec<_> = (0..8)
        .map(|_| {
            let (mut ada, name) = (ada.clone(), session.name.clone());
            tokio::spawn(async move { ada.delete(&name).await })
        })
        .collect();
    eventually("each waits for the lock", async || app.waiting_statements().await >= 7).await;

    proxy.freeze();

    for deletion in deletions {
        assert_unavailable("DeleteUploadSession", deletion.await.expect("no panic"));
    }
    frozen.rollback().await.expect("the lock is given back");
    eventually("the service answers", async || ada.get(&session.name).await.is_ok()).await;
    ada.delete(&session.name).await.expect("deleted");
}

#[tokio::test]
async fn a_range_that_waits_out_an_outage_is_committed() {
    let (app, mut proxy) = behind_a_proxy().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    let (sender, answer) = ada.stall(&session, &bytes, 0..1000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;

    proxy.go_away().await;
    proxy.come_back().await;
    let last_byte = proto::upload_range_request::Content::Chunk(bytes.slice(999..1000));
    sender.send(proto::UploadRangeRequest { content: Some(last_byte) }).await.expect("the service reads");
    drop(sender);

    match answer.await.expect("an answer") {
        Ok(_) => {}
        // A connection of the pool that was found broken only now: the caller asks again.
        broken => {
            assert_unavailable("UploadRange", broken.map(drop));
            ada.send(&session, &bytes, 0..1000).await.expect("the same range");
        }
    }
    assert_eq!(ada.get(&session.name).await.expect("the session").received_bytes, 1000);
}

#[tokio::test]
async fn bytes_whose_commit_was_never_answered_are_kept_for_good() {
    let (app, proxy) = behind_a_proxy().await;
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
    let (app, proxy) = behind_a_proxy().await;
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
    assert_eq!(app.files_of(&session).len(), 2, "what was left of the first attempt is gone");
    assert_eq!(ada.download(&session.document, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn a_delete_whose_commit_was_never_answered_has_happened() {
    let (app, proxy) = behind_a_proxy().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..1000).await.expect("a range");

    proxy.arm(CREDENTIAL, Cut::BeforeTheAnswer);
    assert_unavailable("DeleteUploadSession", ada.delete(&session.name).await);
    assert!(!proxy.is_armed(), "the connection was cut");

    assert_eq!(ada.get(&session.name).await.expect("the tombstone").state(), State::Canceled);
    ada.delete(&session.name).await.expect("deleted");
    assert_eq!(app.actions_on(&session).await, ["create", "cancel"]);
    eventually("nothing is left", async || app.is_reclaimed(&session)).await;
}

#[tokio::test]
async fn the_writers_of_a_session_are_told_also_when_what_ended_it_was_never_answered() {
    for method in ["DeleteUploadSession", "DeletePrintJob"] {
        let (app, proxy) = behind_a_proxy().await;
        let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
        let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
        let (_still_held, mut answer) = ada.stall(&session, &bytes, 0..1000);
        eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;
        let end = async || match method {
            "DeletePrintJob" => app.catalog().delete_job(&session.document, 2).await,
            _ => app.ada().delete(&session.name).await,
        };

        proxy.arm(CREDENTIAL, Cut::BeforeTheAnswer);
        assert_unavailable(method, end().await);
        assert!(!proxy.is_armed(), "{method}: the connection was cut");
        end().await.expect("it has happened");

        let told = tokio::time::timeout(Duration::from_secs(10), &mut answer).await.expect("the writer is told");
        let refused = told.expect("an answer").expect_err("told");
        assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()), "{method}");
    }
}

/// Its connection goes back to the pool. Were it still in the transaction, whatever came next would be part of that: answered,
/// and never committed.
#[tokio::test]
async fn a_transaction_that_is_given_up_as_it_begins_takes_nothing_along() {
    let mut app = App::start().await;
    app.set_flag("database-connections", "1");
    let proxy = put_behind_a_proxy(&mut app).await;
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
    // On the same connection: once this is refused, the service has heard of that.
    catalog.client.catalog.clone().upsert_printer(printer("nobody's".into())).await.expect_err("refused");
    proxy.release();

    ada.delete(&session.name).await.expect("deleted");
    let committed = sqlx::query_scalar::<_, String>("select state from upload_session where session_id = $1::uuid");
    assert_eq!(committed.bind(&session.etag).fetch_one(app.pool()).await.expect("the row"), "canceled");
}

#[tokio::test]
async fn a_delete_that_never_came_through_has_not_happened() {
    let (app, proxy) = behind_a_proxy().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");

    proxy.arm(CREDENTIAL, Cut::BeforeTheStatement);
    assert_unavailable("DeleteUploadSession", ada.delete(&session.name).await);

    assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Active);
    ada.send(&session, &bytes, 0..1000).await.expect("the whole document");
    assert_eq!(ada.download(&session.document, 0).await.expect("a download").1, bytes);
}
