//! `DeletePrintJob` ends the job's upload and frees its bytes.

use print_upload::proto::{
    CatalogPrintJob, DeletePrintJobRequest, DownloadPrintDocumentRequest, Principal, Printer, UploadSession,
    UpsertPrintJobRequest, UpsertPrinterRequest,
    principal::Identity,
    upload_session::{EndReason, State},
};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::harness::{Actor, App, CATALOG_CLIENT, Digest, ErrorExt, TENANT, eventually, job_of, sample_bytes};

impl Actor {
    /// Creates or updates ada's job with its document.
    async fn push_job_of(&mut self, document: &str, revision: i64) -> Result<CatalogPrintJob, Status> {
        let (_, id) = document.split_once("/documents/").expect("a document's name");
        let creator = Some(Principal { identity: Some(Identity::User("ada".into())) });
        let print_job = CatalogPrintJob { name: job_of(document), creator, document: id.into(), revision };
        let request = UpsertPrintJobRequest { print_job: Some(print_job) };
        Ok(self.client.catalog.upsert_print_job(request).await?.into_inner())
    }
}

/// The document and its session are not found by any call.
async fn assert_not_found(app: &App, document: &str) {
    let mut ada = app.ada();
    let not_found = (Code::NotFound, "DOCUMENT_NOT_FOUND".to_owned());
    assert_eq!(ada.document(document).await.expect_err("deleted").code_and_reason(), not_found);
    assert_eq!(ada.download(document, 0).await.expect_err("deleted").code_and_reason(), not_found);
    assert_eq!(ada.create(document, 1000).await.expect_err("deleted").code_and_reason(), not_found);
    let of_document = format!("{document}/uploadSession");
    assert_eq!(ada.get(&of_document).await.expect_err("deleted").code_and_reason(), not_found);
    assert_eq!(ada.delete(&of_document).await.expect_err("deleted").code_and_reason(), not_found);
}

async fn uploaded(app: &App, ada: &mut Actor) -> (String, UploadSession) {
    let (document, bytes) = (app.new_document().await, sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..400).await.expect("a range");
    ada.send(&session, &bytes, 400..1000).await.expect("the completing range");
    (document, session)
}

#[tokio::test]
async fn deleting_a_job_cancels_its_upload_and_notifies_the_writers() {
    let app = App::start().await;
    let (mut ada, mut catalog, bytes) = (app.ada(), app.catalog(), sample_bytes(1000));
    let (document, spared) = (app.new_document().await, app.new_document().await);
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    let other = ada.create(&spared, bytes.len()).await.expect("a session of another job");
    ada.send(&session, &bytes, 0..400).await.expect("a range");
    let (sender, writing) = ada.stall(&session, &bytes, 400..1000);
    eventually("the range is under way", async || app.files_of(&session).len() == 2).await;

    catalog.delete_job(&document, 2).await.expect("deleted");

    let refused = writing.await.expect("no panic").expect_err("canceled, although stalled");
    assert_eq!(refused.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    drop(sender);
    let canceled = ada.get(&session.name).await.expect("the tombstone");
    assert_eq!((canceled.state(), canceled.end_reason()), (State::Canceled, EndReason::PrintJobDeleted));
    let by = Principal { identity: Some(Identity::Application(CATALOG_CLIENT.into())) };
    assert_eq!(canceled.ended_by, Some(by));
    assert!(canceled.end_time.is_some() && canceled.upload_url.is_empty());
    assert!(canceled.next_expected_ranges.is_empty());
    let late = ada.send(&session, &bytes, 400..1000).await.expect_err("a late range");
    assert_eq!(late.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    let late = ada.holder_of(&session).send(&session, &bytes, 400..1000).await.expect_err("a late range");
    assert_eq!(late.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    assert_not_found(&app, &document).await;
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;

    // A repeat changes nothing, also with a later revision.
    for revision in [2, 3] {
        catalog.delete_job(&document, revision).await.expect("deleted before");
        assert_eq!(ada.get(&session.name).await.expect("the tombstone"), canceled);
    }
    ada.delete(&session.name).await.expect("deleting a canceled session is OK");
    assert_eq!(ada.get(&session.name).await.expect("the tombstone"), canceled);
    ada.send(&other, &bytes, 0..1000).await.expect("another job's upload goes on");
    assert_eq!(ada.download(&spared, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn deleting_a_job_records_in_the_audit_trail_who_ended_its_upload() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    ada.create(&document, 1000).await.expect("a session");
    app.catalog().delete_job(&document, 2).await.expect("deleted");
    app.catalog().delete_job(&document, 2).await.expect("deleted before");
    let trail: Vec<(String, Option<String>, String)> =
        sqlx::query_as("select action, actor, credential from audit order by audit_id")
            .fetch_all(app.pool())
            .await
            .expect("a trail");
    let row = |action: &str, actor: &str| (action.into(), Some(actor.into()), "access-token".into());
    assert_eq!(trail, [row("create", "user:ada"), row("cancel", &format!("app:{CATALOG_CLIENT}"))]);
}

#[tokio::test]
async fn deleting_a_job_frees_its_uploaded_document() {
    let app = App::start().await;
    let (mut ada, mut catalog) = (app.ada(), app.catalog());
    let (document, session) = uploaded(&app, &mut ada).await;
    let (spared, _) = uploaded(&app, &mut ada).await;
    assert_eq!(app.files_of(&session).len(), 2);

    for _ in 0..2 {
        catalog.delete_job(&document, 1).await.expect("deleted");
        assert_not_found(&app, &document).await;
    }
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
    assert_eq!(ada.download(&spared, 0).await.expect("a download").1, sample_bytes(1000));
}

#[tokio::test]
async fn no_range_of_a_deleted_document_is_acknowledged() {
    let app = App::start().await;
    let mut ada = app.ada();
    let (document, session) = uploaded(&app, &mut ada).await;
    app.catalog().delete_job(&document, 2).await.expect("deleted");
    for digest in [Digest::None, Digest::Both] {
        let again = ada.send_bytes(&session, 400, sample_bytes(1000).slice(400..), digest).await;
        let again = again.expect_err("the document is deleted, so its range is not acknowledged again");
        assert_eq!(again.code_and_reason(), (Code::NotFound, "DOCUMENT_NOT_FOUND".into()));
    }
}

#[tokio::test]
async fn a_download_under_way_ends_with_its_job() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(20 << 20));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..10 << 20).await.expect("the first half");
    ada.send(&session, &bytes, 10 << 20..20 << 20).await.expect("the second half");
    let request = DownloadPrintDocumentRequest { name: document.clone(), offset: 0 };
    let mut stream = ada.client.documents.download_print_document(request).await.expect("a download").into_inner();
    stream.message().await.expect("a message").expect("the document");

    app.catalog().delete_job(&document, 2).await.expect("deleted");
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;

    let ended = loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some(), "a cut document must not look like a whole one"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code_and_reason(), (Code::NotFound, "DOCUMENT_NOT_FOUND".into()));
}

#[tokio::test]
async fn a_job_deleted_while_its_upload_completes_leaves_no_byte() {
    let app = App::start().await;
    let bytes = sample_bytes(1000);
    for _ in 0..20 {
        let (mut ada, mut catalog, document) = (app.ada(), app.catalog(), app.new_document().await);
        let session = ada.create(&document, bytes.len()).await.expect("a session");
        ada.send(&session, &bytes, 0..400).await.expect("a range");
        let (deleted, completed) =
            tokio::join!(catalog.delete_job(&document, 2), ada.send(&session, &bytes, 400..1000));
        deleted.expect("deleted");
        // Either the range completed the document before the deletion, or the deletion came first.
        let state = ada.get(&session.name).await.expect("the tombstone").state();
        match completed.map_err(|status| status.code_and_reason()) {
            Ok(_) => assert_eq!(state, State::Completed),
            Err((Code::NotFound, reason)) => assert_eq!((state, &*reason), (State::Completed, "DOCUMENT_NOT_FOUND")),
            Err(canceled) => {
                assert_eq!(canceled, (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
                assert_eq!(state, State::Canceled);
            }
        }
        assert_not_found(&app, &document).await;
        eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
    }
}

#[tokio::test]
async fn a_job_deleted_while_its_upload_is_created_has_no_upload() {
    let app = App::start().await;
    for _ in 0..10 {
        let (mut catalog, document) = (app.catalog(), app.new_document().await);
        let mut creates = JoinSet::new();
        for mut ada in [app.ada(), app.ada(), app.ada(), app.ada()] {
            let document = document.clone();
            creates.spawn(async move { ada.create(&document, 1000).await });
        }
        catalog.delete_job(&document, 2).await.expect("deleted");
        for created in creates.join_all().await {
            match created {
                Ok(session) => {
                    let canceled = app.ada().get(&session.name).await.expect("the tombstone");
                    assert_eq!(canceled.end_reason(), EndReason::PrintJobDeleted);
                }
                Err(status) => assert_eq!(status.code_and_reason(), (Code::NotFound, "DOCUMENT_NOT_FOUND".into())),
            }
        }
        assert_not_found(&app, &document).await;
    }
}

#[tokio::test]
async fn a_job_with_an_overdue_session_is_deleted_and_the_session_has_expired() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, 1000).await.expect("a session");
    ada.send(&session, &sample_bytes(1000), 0..10).await.expect("a range");
    app.make_overdue(&session).await;
    app.catalog().delete_job(&document, 2).await.expect("deleted");
    let expired = ada.get(&session.name).await.expect("the tombstone");
    assert_eq!((expired.state(), expired.end_reason()), (State::Expired, EndReason::Expired));
    assert_eq!(expired.ended_by, None);
    eventually("its bytes are gone", async || app.is_reclaimed(&session)).await;
    assert_not_found(&app, &document).await;
}

#[tokio::test]
async fn an_older_revision_does_not_delete_a_job() {
    let app = App::start().await;
    let (mut ada, mut catalog, document) = (app.ada(), app.catalog(), app.new_document().await);
    catalog.push_job_of(&document, 7).await.expect("a newer revision");
    let session = ada.create(&document, 1000).await.expect("a session");
    catalog.delete_job(&document, 6).await.expect("nothing happens");
    let active = ada.get(&session.name).await.expect("the session");
    assert_eq!((active.state(), active.end_reason()), (State::Active, EndReason::Unspecified));
    ada.send(&session, &sample_bytes(1000), 0..1000).await.expect("the document");
    ada.document(&document).await.expect("the document");
    catalog.delete_job(&document, 6).await.expect("nothing happens");
    assert_eq!(ada.download(&document, 0).await.expect("a download").1, sample_bytes(1000));

    catalog.delete_job(&document, 7).await.expect("an equal revision deletes it");
    assert_not_found(&app, &document).await;
}

#[tokio::test]
async fn a_deleted_job_does_not_come_back() {
    let app = App::start().await;
    let (mut ada, mut catalog, document) = (app.ada(), app.catalog(), app.new_document().await);
    let unknown = format!("printers/p/jobs/{}/documents/{}", Uuid::new_v4(), Uuid::new_v4());
    for document in [&document, &unknown] {
        catalog.delete_job(document, 5).await.expect("deleted");
        for revision in [4, 5, 6] {
            let refused = catalog.push_job_of(document, revision).await.expect_err("it was deleted");
            assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "PRINT_JOB_DELETED".into()));
        }
        assert_not_found(&app, document).await;
        catalog.delete_job(document, 5).await.expect("deleted before");
    }
    let next = app.new_document().await;
    ada.create(&next, 1000).await.expect("other jobs live on");
}

#[tokio::test]
async fn a_deleted_job_does_not_come_back_when_even_its_printer_comes_late() {
    let app = App::start().await;
    let mut catalog = app.catalog();
    let document = format!("printers/late/jobs/1/documents/{}", Uuid::new_v4());
    // The deletion is either refused, so that the catalog sends it again, or stored.
    if let Err(refused) = catalog.delete_job(&document, 5).await {
        assert_eq!(refused.code_and_reason(), (Code::NotFound, "PARENT_NOT_FOUND".into()));
        return;
    }
    let printer = Printer { name: format!("tenants/{TENANT}/printers/late"), revision: 1 };
    catalog.client.catalog.upsert_printer(UpsertPrinterRequest { printer: Some(printer) }).await.expect("a printer");
    let refused = catalog.push_job_of(&document, 4).await.expect_err("its deletion was answered with OK");
    assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "PRINT_JOB_DELETED".into()));
}

#[tokio::test]
async fn a_deletion_names_exactly_one_job() {
    let app = App::start().await;
    let (mut ada, mut catalog, document) = (app.ada(), app.catalog(), app.new_document().await);
    let job = job_of(&document);
    let names = ["", "tenants/t", &job[..job.len() - 1 - 36], &format!("{job}/"), &format!("{job}/tasks/t"), &document];
    for name in names.into_iter().map(str::to_owned).chain([format!("tenants/{TENANT}"), format!("{job}/documents/d")])
    {
        let request = DeletePrintJobRequest { name: name.clone(), revision: 9 };
        let refused = catalog.client.catalog.delete_print_job(request).await.expect_err("no job's name");
        assert_eq!(refused.bad_fields(), ["name"], "{name}");
    }
    assert_eq!(catalog.delete_job(&document, -1).await.expect_err("negative").bad_fields(), ["revision"]);
    ada.document(&document).await.expect("the job is still there");
}
