//! The database does not answer, for a while.

use print_upload::proto::{
    self, DownloadPrintDocumentRequest, GetPrintDocumentRequest, UploadSession, upload_session::State,
};
use tonic::Status;

use super::assert_unavailable;
use crate::harness::{App, TENANT, eventually, sample_bytes};

/// Makes every call. Returns each call's name and result.
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
    let (app, mut proxy) = App::behind_proxy().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");

    for _ in 0..2 {
        proxy.stop().await;
        for (call, answer) in call_everything(&app, &session).await {
            assert_unavailable(call, answer);
        }
        proxy.restart().await;
        eventually("the service answers", async || app.ada().get(&session.name).await.is_ok()).await;
    }

    let seen = ada.get(&session.name).await.expect("the session");
    assert_eq!((seen.state(), seen.received_bytes), (State::Active, 0));
    ada.send(&session, &bytes, 0..2000).await.expect("the whole document");
    assert_eq!(ada.download(&session.document, 0).await.expect("a download").1, bytes);
    let strays = app.files_of(&session).len() - 1;
    app.make_reclaim_last(&session).await;
    eventually("the sweeper has worked", async || app.reclaim_job(&session).await.is_none()).await;
    assert_eq!((strays, app.files_of(&session)), (0, app.manifest_of(&session).await));
}

#[tokio::test]
async fn connections_that_fall_silent_are_given_up() {
    let (app, proxy) = App::behind_proxy().await;
    let mut ada = app.ada();
    let session = ada.create(&app.new_document().await, 1000).await.expect("a session");
    let locked = app.lock(&session).await;
    // As many as the pool has connections, so that each connection is in use when it freezes.
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
    locked.rollback().await.expect("the lock is released");
    eventually("the service answers", async || ada.get(&session.name).await.is_ok()).await;
    ada.delete(&session.name).await.expect("deleted");
}

#[tokio::test]
async fn a_range_that_waits_out_an_outage_is_committed() {
    let (app, mut proxy) = App::behind_proxy().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(2000));
    let session = ada.create(&app.new_document().await, bytes.len()).await.expect("a session");
    let (sender, answer) = ada.stall(&session, &bytes, 0..1000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;

    proxy.stop().await;
    proxy.restart().await;
    let last_byte = proto::upload_range_request::Content::Chunk(bytes.slice(999..1000));
    sender.send(proto::UploadRangeRequest { content: Some(last_byte) }).await.expect("the service reads");
    drop(sender);

    match answer.await.expect("an answer") {
        Ok(_) => {}
        // The pool noticed only now that its connection is broken. The caller retries.
        broken => {
            assert_unavailable("UploadRange", broken.map(drop));
            ada.send(&session, &bytes, 0..1000).await.expect("the same range");
        }
    }
    assert_eq!(ada.get(&session.name).await.expect("the session").received_bytes, 1000);
}
