//! Print jobs are created with a document that awaits its upload, and started once it is uploaded.

use std::collections::HashSet;

use print_upload::proto::{
    ListPrintDocumentsRequest, Principal, PrintJob, principal::Identity, print_document, print_job::State,
};
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use crate::harness::{Actor, App, ErrorExt, FOREIGN_TENANT, Rpc, sample_bytes};

const QUEUES: [&str; 2] = ["printers/p", "shares/s"];
const MAX_CONFIGURATION_BYTES: usize = 16 * 1024;

fn by_share(name: &str) -> String {
    name.replacen("printers/p/", "shares/s/", 1)
}

/// A configuration of exactly `bytes` bytes, mostly two-byte characters.
fn configuration_of(bytes: usize) -> String {
    let text = format!(r#"{{"note":"{}"}}"#, "ü".repeat((bytes - 20) / 2));
    format!("{text}{}", " ".repeat(bytes - text.len()))
}

async fn count(app: &App, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(app.pool()).await.expect("a count")
}

#[tokio::test]
async fn a_job_is_created_on_a_printer_or_through_a_share_and_named_by_its_printer() {
    let app = App::start().await;
    let mut ada = app.ada();
    for queue in QUEUES {
        let job = ada.create_job(queue).await.expect("a job");

        let id = job.name.strip_prefix("printers/p/jobs/").expect("named by its printer");
        let number: u32 = id.parse().expect("a decimal number");
        assert_eq!(number.to_string(), id, "in its one spelling");
        assert!(id.len() <= 9, "short enough to be read out: {id}");
        let document = job.document.strip_prefix(&format!("{}/documents/", job.name)).expect("a document of the job");
        document.parse::<Uuid>().expect("a GUID");
        assert_eq!(job.creator, Some(Principal { identity: Some(Identity::User("ada".into())) }));
        assert!(job.create_time.is_some());
        assert_eq!((job.state(), job.upload_pending, &*job.configuration), (State::Paused, true, ""));
        assert_eq!(ada.job(&job.name).await.expect("the job"), job);
        assert_eq!(ada.job(&by_share(&job.name)).await.expect("the job"), job, "the same, whatever the way to it");
    }
}

#[tokio::test]
async fn a_new_jobs_document_is_uploaded_right_away_and_the_job_reports_it() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let job = ada.create_job("shares/s").await.expect("a job");
    let pending = ada.document(&job.document).await.expect("the document");
    assert_eq!((&pending.name, pending.state()), (&job.document, print_document::State::UploadPending));

    let session = ada.create(&job.document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 400..1000).await.expect("a range");
    assert_eq!(ada.document(&job.document).await.expect("the document").state(), print_document::State::Uploading);
    assert_eq!(ada.job(&job.name).await.expect("the job"), job, "its upload is pending until the last byte");
    ada.send(&session, &bytes, 0..400).await.expect("the rest");

    assert_eq!(ada.document(&job.document).await.expect("the document").state(), print_document::State::Uploaded);
    assert_eq!(ada.download(&by_share(&job.document), 0).await.expect("a download").1, bytes);
    let uploaded = PrintJob { upload_pending: false, ..job };
    assert_eq!(ada.job(&uploaded.name).await.expect("the job"), uploaded, "an upload alone starts nothing");
}

#[tokio::test]
async fn a_configuration_is_kept_to_the_letter() {
    let app = App::start().await;
    let mut ada = app.ada();
    let largest = configuration_of(MAX_CONFIGURATION_BYTES);
    let configurations = [
        "{}",
        " {\n\t\"copies\" : 2.0, \"a\": 1e2 , \"copies\": 3 }\r\n",
        r#"{"z":{"deep":[null,true]},"a":"\u00fc ü \ud83d\ude00 '; drop table print_job; --"}"#,
        r#"{"escaped":"\u0000"}"#,
        &largest,
    ];
    for configuration in configurations {
        let job = ada.create_configured_job("printers/p", configuration).await.expect("a job");
        assert_eq!(job.configuration, configuration);
        assert_eq!(ada.job(&job.name).await.expect("the job"), job);
        ada.upload(&job.document, &sample_bytes(10)).await.expect("the document");
        assert_eq!(ada.start_job(&job.name).await.expect("started").configuration, configuration);
    }
}

#[tokio::test]
async fn a_configuration_that_is_no_json_object_of_16_kib_is_refused_and_nothing_is_created() {
    let app = App::start().await;
    let mut ada = app.ada();
    let malformed = [
        "copies=2",
        " ",
        "[]",
        r#"[{"copies":2}]"#,
        "null",
        "2",
        r#""{}""#,
        "{",
        r#"{"copies":2,}"#,
        "{}{}",
        // JSON that Postgres cannot store.
        "{\"note\":\"\0\"}",
        "{}\0",
    ];
    for queue in QUEUES {
        for configuration in malformed {
            let refused = ada.create_configured_job(queue, configuration).await.expect_err(configuration);
            assert_eq!(refused.bad_fields(), ["configuration"], "{configuration}");
        }
        let too_large = configuration_of(MAX_CONFIGURATION_BYTES + 1);
        let refused = ada.create_configured_job(queue, &too_large).await.expect_err("one byte too many");
        assert_eq!(refused.too_large("CONFIGURATION"), ("configuration".into(), MAX_CONFIGURATION_BYTES as u64));
    }
    assert_eq!(count(&app, "select count(*) from print_job").await, 0);
    assert_eq!(count(&app, "select count(*) from print_document").await, 0);
}

#[tokio::test]
async fn a_job_needs_a_printer_or_share_of_the_callers_tenant() {
    let app = App::start().await;
    let (mut ada, mut mallory) = (app.ada(), app.mallory());
    let foreign_printer = format!("tenants/{FOREIGN_TENANT}/printers/theirs");
    app.catalog().call(Rpc::UpsertPrinter, &foreign_printer).await.expect("a printer of the other tenant");
    mallory.create_job("printers/theirs").await.expect("a job on her own printer");

    for queue in ["printers/theirs", "printers/q", "shares/t", "printers/s", "shares/p"] {
        let refused = ada.create_job(queue).await.expect_err(queue);
        assert_eq!(refused.code_and_reason(), (Code::NotFound, "PRINTER_NOT_FOUND".into()), "{queue}");
    }
    for malformed in ["", "p", "printers/", "printers/p/", "queues/p", "printers/p/jobs/1", "printers/p q"] {
        assert_eq!(ada.create_job(malformed).await.expect_err(malformed).bad_fields(), ["parent"], "{malformed}");
    }
    assert_eq!(count(&app, "select count(*) from print_job").await, 1, "hers");
}

#[tokio::test]
async fn a_printer_of_the_same_name_in_another_tenant_does_not_matter() {
    let app = App::start().await;
    let (mut ada, mut mallory) = (app.ada(), app.mallory());
    let adas = ada.create_job("printers/p").await.expect("a job");
    let mallorys = mallory.create_job("printers/p").await.expect("a job of the other tenant");

    let not_found = (Code::NotFound, "PRINT_JOB_NOT_FOUND".to_owned());
    assert_eq!(ada.job(&mallorys.name).await.expect_err("not hers").code_and_reason(), not_found);
    for rpc in Rpc::OF_JOBS {
        let refused = mallory.call(rpc, &adas.name).await.expect_err("not hers");
        assert_eq!(refused.code_and_reason(), not_found, "{rpc:?}");
    }
    assert_eq!(ada.job(&adas.name).await.expect("the job"), adas);
}

#[tokio::test]
async fn a_job_starts_once_its_document_is_uploaded_and_not_before() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let job = ada.create_job("printers/p").await.expect("a job");
    let not_uploaded = (Code::FailedPrecondition, "DOCUMENT_NOT_UPLOADED".to_owned());
    let early = ada.start_job(&job.name).await.expect_err("nothing is uploaded");
    assert_eq!(early.code_and_reason(), not_uploaded);

    let given_up = ada.create(&job.document, bytes.len()).await.expect("a session");
    ada.delete(&given_up.name).await.expect("deleted");
    let early = ada.start_job(&job.name).await.expect_err("its upload was given up");
    assert_eq!(early.code_and_reason(), not_uploaded);

    let session = ada.create(&job.document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..999).await.expect("all but a byte");
    let early = ada.start_job(&job.name).await.expect_err("a byte is missing");
    assert_eq!(early.code_and_reason(), not_uploaded);
    assert_eq!(ada.job(&job.name).await.expect("the job"), job, "a refused start changes nothing");

    ada.send(&session, &bytes, 999..1000).await.expect("the last byte");
    let pending = PrintJob { state: State::Pending.into(), upload_pending: false, ..job };
    for name in [pending.name.clone(), pending.name.clone(), by_share(&pending.name)] {
        assert_eq!(ada.start_job(&name).await.expect("started, or started before"), pending);
        assert_eq!(ada.job(&name).await.expect("the job"), pending);
    }
    assert_eq!(ada.download(&pending.document, 0).await.expect("a download").1, bytes);
}

#[tokio::test]
async fn a_canceled_job_is_not_started() {
    let app = App::start().await;
    let mut ada = app.ada();
    for is_uploaded in [false, true] {
        let job = ada.create_job("printers/p").await.expect("a job");
        if is_uploaded {
            ada.upload(&job.document, &sample_bytes(1000)).await.expect("the document");
        }
        ada.cancel_job(&job.name).await.expect("canceled");

        let refused = ada.start_job(&job.name).await.expect_err("canceled");

        assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "PRINT_JOB_CANCELED".into()));
        assert_eq!(ada.job(&job.name).await.expect("the job").state(), State::Canceled);
    }
}

/// The state of the job's document: the same in its list, by printer and by share, and in the document itself.
async fn state_in_list(ada: &mut Actor, job: &PrintJob) -> print_document::State {
    let document = ada.document(&job.document).await.expect("the document");
    for name in [job.name.clone(), by_share(&job.name)] {
        let [listed] = ada.documents_of(&name).await.expect("its documents").try_into().expect("exactly one");
        assert_eq!(listed, document);
    }
    document.state()
}

#[tokio::test]
async fn a_job_lists_its_one_document_in_the_documents_own_state() {
    let app = App::start().await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let job = ada.create_job("printers/p").await.expect("a job");
    ada.create_job("printers/p").await.expect("another job, whose document is not listed");
    assert_eq!(state_in_list(&mut ada, &job).await, print_document::State::UploadPending);
    let session = ada.create(&job.document, bytes.len()).await.expect("a session");
    assert_eq!(state_in_list(&mut ada, &job).await, print_document::State::Uploading);
    ada.send(&session, &bytes, 0..1000).await.expect("the document");
    assert_eq!(state_in_list(&mut ada, &job).await, print_document::State::Uploaded);
    ada.cancel_job(&job.name).await.expect("canceled");
    assert_eq!(state_in_list(&mut ada, &job).await, print_document::State::Uploaded);
}

#[tokio::test]
async fn the_first_page_of_a_jobs_documents_is_the_only_one() {
    let app = App::start().await;
    let mut ada = app.ada();
    let job = ada.create_job("printers/p").await.expect("a job");
    let document = ada.document(&job.document).await.expect("the document");
    let page = |page_size, page_token: &str| ListPrintDocumentsRequest {
        parent: job.name.clone(),
        page_size,
        page_token: page_token.into(),
    };
    for page_size in [0, 1, 2, i32::MAX] {
        let listed = ada.list_documents(page(page_size, "")).await.expect("a page");
        assert_eq!((&*listed.print_documents, &*listed.next_page_token), (&[document.clone()][..], ""), "{page_size}");
    }
    for page_size in [-1, i32::MIN] {
        let refused = ada.list_documents(page(page_size, "")).await.expect_err("negative");
        assert_eq!(refused.bad_fields(), ["page_size"]);
    }
    for page_token in [" ", "1", &*job.document] {
        let refused = ada.list_documents(page(1, page_token)).await.expect_err("there is no other page");
        assert_eq!(refused.bad_fields(), ["page_token"], "{page_token}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_jobs_created_at_once_on_a_printer_each_has_an_id_of_its_own() {
    const JOBS: usize = 64;
    let app = App::with([("database-connections", "32")]).await;
    let mut creates = JoinSet::new();
    for queue in QUEUES.into_iter().cycle().take(JOBS) {
        let mut ada = app.ada();
        creates.spawn(async move { ada.create_job(queue).await });
    }
    let jobs: Vec<PrintJob> = creates.join_all().await.into_iter().map(|job| job.expect("a job")).collect();
    let names: HashSet<&str> = jobs.iter().map(|job| &*job.name).collect();
    let documents: HashSet<&str> = jobs.iter().map(|job| job.document.rsplit('/').next().expect("an id")).collect();
    assert_eq!((names.len(), documents.len()), (JOBS, JOBS));
    for job in &jobs {
        assert_eq!(app.ada().job(&job.name).await.expect("the job"), *job);
    }
}
