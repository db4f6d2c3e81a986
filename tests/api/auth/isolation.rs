//! A caller learns nothing about the resources of others. Also: subscriptions, the catalog's callers, and what is open
//! to everyone.

use print_upload::proto::{DeleteUploadSessionRequest, principal::Identity, upload_session::State};
use tonic::{Code, Status, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use uuid::{Uuid, uuid};

use crate::harness::{
    Actor, App, CATALOG_CLIENT, ErrorExt, FOREIGN_TENANT, ROBOT, Rpc, SIZE, TENANT, frame, sample_bytes, user_claims,
};

/// The tenant of all personal Microsoft accounts.
const PERSONAL_ACCOUNTS: Uuid = uuid!("9188040d-6c67-4c5b-b112-36a304b66dad");
const EVERYTHING: [&str; 4] =
    ["PrintJob.Create", "PrintJob.ReadWrite.All", "Printer.Read.All", "PrinterShare.Read.All"];

/// Everything that a client receives of an error.
fn seen(answer: Result<(), Status>) -> (Code, String, Vec<u8>) {
    let error = answer.expect_err("an error");
    assert!(!error.reason().is_empty());
    (error.code(), error.message().into(), error.details().into())
}

async fn refused(caller: &mut Actor, rpc: Rpc, name: &str) -> (Code, String) {
    caller.call(rpc, name).await.expect_err(&format!("{rpc:?} of {name}")).code_and_reason()
}

/// The RPCs on documents and sessions, and those on jobs that users and applications both may call. Each with its
/// resource, by every name.
fn resources(document: &str, session: &str) -> Vec<(Rpc, String)> {
    let shared = document.replacen("printers/p/", "shares/s/", 1);
    let mut resources = Vec::new();
    for document in [document, &shared] {
        resources.extend(Rpc::OF_DOCUMENTS.map(|rpc| (rpc, document.to_owned())));
        resources.extend([Rpc::GetPrintJob, Rpc::ListPrintDocuments].map(|rpc| (rpc, rpc.resource(document, ""))));
        let of_document = format!("{document}/uploadSession");
        let by_document = [Rpc::GetUploadSession, Rpc::RenewUploadUrl, Rpc::DeleteUploadSession];
        resources.extend(by_document.map(|rpc| (rpc, of_document.clone())));
    }
    resources.extend(Rpc::OF_SESSIONS.map(|rpc| (rpc, session.to_owned())));
    resources
}

fn never_existed() -> (String, String) {
    let [job, document, session] = [Uuid::new_v4(), Uuid::new_v4(), Uuid::now_v7()];
    (format!("printers/p/jobs/{job}/documents/{document}"), format!("uploadSessions/{session}"))
}

#[tokio::test]
async fn another_tenants_resources_are_like_ones_that_never_existed() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, SIZE).await.expect("a session");
    let uploaded = app.uploaded_document().await;
    let (no_document, no_session) = never_existed();
    let strangers = [
        app.mallory(),
        app.application(FOREIGN_TENANT, ROBOT, &["PrintJob.ReadWrite.All", "Printer.Read.All"]),
        app.user(FOREIGN_TENANT, "ada", &["PrintJob.ReadWrite", "Printer.Read.All", "PrinterShare.Read.All"]),
    ];
    for (stranger, mut caller) in strangers.into_iter().enumerate() {
        let nothing = resources(&no_document, &no_session);
        for ((rpc, theirs), (_, nothing)) in resources(&document, &session.name).into_iter().zip(nothing) {
            let (found, missing) = (caller.call(rpc, &theirs).await, caller.call(rpc, &nothing).await);
            let is_application_on_share = stranger == 1 && theirs.starts_with("shares/");
            let code = found.as_ref().expect_err("another tenant's").code();
            let expected = if is_application_on_share { Code::PermissionDenied } else { Code::NotFound };
            assert_eq!(code, expected, "stranger {stranger}, {rpc:?} of {theirs}");
            assert_eq!(seen(found), seen(missing), "stranger {stranger}, {rpc:?} of {theirs}");
        }
        let (found, missing) = (caller.download(&uploaded, 0).await, caller.download(&no_document, 0).await);
        assert_eq!(seen(found.map(drop)), seen(missing.map(drop)));
    }
    assert_eq!(ada.get(&session.name).await.expect("the session"), session, "nothing has changed");
}

#[tokio::test]
async fn an_etag_and_allow_missing_reveal_nothing_of_another_tenants_sessions() {
    let app = App::start().await;
    let (mut ada, mut mallory, document) = (app.ada(), app.mallory(), app.new_document().await);
    let session = ada.create(&document, SIZE).await.expect("a session");
    let (no_document, no_session) = never_existed();
    let etags = ["", &session.etag, no_session.trim_start_matches("uploadSessions/"), "no id at all"];
    for allow_missing in [false, true] {
        for etag in etags {
            let delete =
                |name: &str| DeleteUploadSessionRequest { name: name.into(), etag: etag.into(), allow_missing };
            let (found, missing) = (
                mallory.delete_with(delete(&format!("{document}/uploadSession"))).await,
                mallory.delete_with(delete(&format!("{no_document}/uploadSession"))).await,
            );
            assert_eq!(found.as_ref().expect_err("a document").code_and_reason(), not_found("DOCUMENT_NOT_FOUND"));
            assert_eq!(seen(found), seen(missing));
            let (found, missing) =
                (mallory.delete_with(delete(&session.name)).await, mallory.delete_with(delete(&no_session)).await);
            assert_eq!(found.is_ok(), allow_missing, "only a missing session is excused");
            if !allow_missing {
                assert_eq!(
                    found.as_ref().expect_err("a session").code_and_reason(),
                    not_found("UPLOAD_SESSION_NOT_FOUND")
                );
                assert_eq!(seen(found), seen(missing));
            }
        }
    }
    assert_eq!(ada.get(&session.name).await.expect("the session"), session, "nothing has changed");
}

fn not_found(reason: &str) -> (Code, String) {
    (Code::NotFound, reason.into())
}

#[tokio::test]
async fn two_tenants_with_the_same_ids_have_each_their_own_document() {
    let app = App::start().await;
    let entry = |tenant| Rpc::UpsertPrintJob.catalog_entry(tenant);
    for tenant in [TENANT, FOREIGN_TENANT] {
        app.catalog().call(Rpc::UpsertPrintJob, &entry(tenant)).await.expect("a job");
    }
    let job = entry(TENANT).rsplit('/').next().expect("an id").to_owned();
    let document = format!("printers/p/jobs/{job}/documents/{job}");
    let (mut ada, mut mallory, bytes) = (app.ada(), app.mallory(), sample_bytes(SIZE));

    let adas = ada.create(&document, SIZE).await.expect("ada's session");
    let mallorys = mallory.create(&document, SIZE).await.expect("mallory's session");
    assert_ne!(adas.name, mallorys.name);
    mallory.delete(&format!("{document}/uploadSession")).await.expect("deleted");

    assert_eq!(mallory.get(&mallorys.name).await.expect("hers").state(), State::Canceled);
    ada.send(&adas, &bytes, 0..SIZE).await.expect("ada's upload goes on");
    assert_eq!(ada.download(&document, 0).await.expect("ada's document").1, bytes);
    let error = mallory.download(&document, 0).await.expect_err("mallory's has no bytes");
    assert_eq!(error.code_and_reason(), (Code::FailedPrecondition, "DOCUMENT_NOT_UPLOADED".into()));
}

#[tokio::test]
async fn without_an_active_subscription_nobody_in_the_tenant_uploads() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, SIZE).await.expect("a session");
    let (no_document, no_session) = never_existed();
    app.subscribe(TENANT, false, 2).await;

    let unknown_tenant = app.user(Uuid::new_v4(), "ada", &EVERYTHING);
    let no_printer = app.user(TENANT, "ada", &["PrintJob.Create", "PrintJob.ReadWrite"]);
    for mut caller in [app.ada(), app.bob(), no_printer, unknown_tenant] {
        for (document, session) in [(&document, &session.name), (&no_document, &no_session)] {
            for (rpc, name) in resources(document, session) {
                let expected = (Code::PermissionDenied, "SUBSCRIPTION_NOT_ACTIVE".into());
                assert_eq!(refused(&mut caller, rpc, &name).await, expected, "{rpc:?} of {name}");
            }
            let request =
                DeleteUploadSessionRequest { name: session.clone(), allow_missing: true, ..Default::default() };
            assert_eq!(caller.delete_with(request).await.expect_err("refused").reason(), "SUBSCRIPTION_NOT_ACTIVE");
        }
    }
    let mut without_scope = app.user(TENANT, "ada", &["Printer.Read.All"]);
    let answer = refused(&mut without_scope, Rpc::GetUploadSession, &session.name).await;
    assert_eq!(answer.1, "PERMISSION_MISSING", "a scope is asked for first");

    app.subscribe(TENANT, true, 3).await;
    assert_eq!(ada.get(&session.name).await.expect("the session"), session, "nothing has changed");
}

#[tokio::test]
async fn personal_accounts_are_refused_even_with_a_subscription() {
    let app = App::start().await;
    app.subscribe(PERSONAL_ACCOUNTS, true, 1).await;
    let in_capitals = user_claims().in_tenant(&PERSONAL_ACCOUNTS.to_string().to_uppercase()).signed();
    let (document, session) = never_existed();
    for mut person in [app.user(PERSONAL_ACCOUNTS, "ada", &EVERYTHING), app.bearer(&in_capitals)] {
        for rpc in Rpc::all() {
            let expected = (Code::PermissionDenied, "PERSONAL_ACCOUNT_NOT_SUPPORTED".into());
            assert_eq!(refused(&mut person, rpc, &rpc.resource(&document, &session)).await, expected, "{rpc:?}");
        }
    }
}

#[tokio::test]
async fn without_the_permission_an_unknown_resource_is_like_a_known_one() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, SIZE).await.expect("a session");
    let (no_document, no_session) = never_existed();
    let callers = [
        ("PERMISSION_MISSING", app.user(TENANT, "ada", &["Printer.Read.All", "PrinterShare.Read.All"])),
        ("PERMISSION_MISSING", app.application(TENANT, ROBOT, &["Printer.Read.All"])),
        ("PRINTER_PERMISSION_MISSING", app.user(TENANT, "ada", &["PrintJob.Create", "PrintJob.ReadWrite.All"])),
        ("PRINTER_PERMISSION_MISSING", app.application(TENANT, ROBOT, &["PrintJob.ReadWrite.All"])),
        ("TOKEN_EXPIRED", app.bearer(&user_claims().with("exp", 1_700_000_000).signed())),
    ];
    for (reason, mut caller) in callers {
        let nothing = resources(&no_document, &no_session);
        for ((rpc, known), (_, unknown)) in resources(&document, &session.name).into_iter().zip(nothing) {
            let (found, missing) = (caller.call(rpc, &known).await, caller.call(rpc, &unknown).await);
            assert_eq!(found.as_ref().expect_err("refused").reason(), reason, "{rpc:?} of {known}");
            assert_eq!(seen(found), seen(missing), "{rpc:?} of {known}");
            if reason != "PRINTER_PERMISSION_MISSING" {
                assert_eq!(caller.call(rpc, "no name").await.expect_err("refused").reason(), reason, "{rpc:?}");
            }
        }
    }
    assert_eq!(ada.get(&session.name).await.expect("the session"), session, "nothing has changed");
}

#[tokio::test]
async fn the_catalog_is_maintained_by_the_applications_that_are_named_and_in_the_tenant_that_the_request_names() {
    let app = App::start().await;
    let new_tenant = Uuid::new_v4();
    let no_clients = [
        app.application(TENANT, ROBOT, &["PrintCatalog.ReadWrite.All"]),
        app.application(FOREIGN_TENANT, "Catalog-Service", &["PrintCatalog.ReadWrite.All"]),
    ];
    for mut caller in no_clients {
        for rpc in Rpc::OF_CATALOG {
            for tenant in [TENANT, new_tenant] {
                let expected = (Code::PermissionDenied, "NOT_CATALOG_CLIENT".into());
                assert_eq!(refused(&mut caller, rpc, &rpc.catalog_entry(tenant)).await, expected, "{rpc:?}");
            }
        }
    }
    let user =
        user_claims().with("oid", CATALOG_CLIENT).with("azp", CATALOG_CLIENT).with("scp", "PrintCatalog.ReadWrite.All");
    for rpc in Rpc::OF_CATALOG {
        let answer = refused(&mut app.bearer(&user.signed()), rpc, &rpc.catalog_entry(TENANT)).await;
        assert_eq!(answer, (Code::PermissionDenied, "PERMISSION_MISSING".into()), "{rpc:?} by a user");
    }

    // The application's own tenant does not matter, nor does its subscription.
    let mut catalog = app.application(Uuid::new_v4(), CATALOG_CLIENT, &["PrintCatalog.ReadWrite.All"]);
    let mut of_new_tenant = app.user(new_tenant, "ada", &EVERYTHING);
    let job = Rpc::UpsertPrintJob.catalog_entry(new_tenant).rsplit('/').next().expect("an id").to_owned();
    let document = format!("printers/p/jobs/{job}/documents/{job}");
    assert_eq!(of_new_tenant.create(&document, SIZE).await.expect_err("not yet").reason(), "SUBSCRIPTION_NOT_ACTIVE");
    for rpc in Rpc::OF_CATALOG {
        catalog.call(rpc, &rpc.catalog_entry(new_tenant)).await.unwrap_or_else(|error| panic!("{rpc:?}: {error}"));
    }
    of_new_tenant.create(&document, SIZE).await.expect("a session");
    let error = app.ada().create(&document, SIZE).await.expect_err("nothing was pushed to ada's tenant");
    assert_eq!(error.code_and_reason(), not_found("DOCUMENT_NOT_FOUND"));
}

#[tokio::test]
async fn health_is_open_to_everyone_and_nothing_else_is() {
    let app = App::start().await;
    let channel = Endpoint::from_shared(format!("http://{}", app.address)).expect("an address").connect_lazy();
    let mut health = HealthClient::new(channel);
    for service in ["", "UploadSessions", "PrintDocuments", "PrintJobs", "PrintCatalog"] {
        let service = if service.is_empty() { String::new() } else { format!("print.upload.v1.{service}") };
        let answer = health.check(HealthCheckRequest { service }).await.expect("an answer").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    // Messages of anonymous callers are kept in memory until they are complete.
    let long = health.check(HealthCheckRequest { service: "x".repeat(5000) }).await.expect_err("too long");
    assert_eq!(long.code(), Code::OutOfRange);
    let anyone = Identity::User("anyone".into());
    let (document, session) = (app.new_document_by(anyone).await, never_existed().1);
    let mut nobody = Actor::with(app.address, print_upload_client::Credential::None);
    for rpc in Rpc::all() {
        let answer = refused(&mut nobody, rpc, &rpc.resource(&document, &session)).await;
        assert_eq!(answer, (Code::Unauthenticated, "TOKEN_MISSING".into()), "{rpc:?}");
    }
    let body = || tokio_stream::once(frame(0, 0, b""));
    for path in ["/print.upload.v1.UploadSessions/PurgeUploadSession", "/print.upload.v1.Unknown/Open"] {
        let answer = crate::harness::call_raw(app.address, path, &[], body()).await;
        assert_eq!(answer.expect_err("no such method").code(), Code::Unimplemented, "{path}");
    }
}

/// Lists the services over one version of the reflection protocol.
macro_rules! services_by_reflection {
    ($app:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let endpoint = Endpoint::from_shared(format!("http://{}", $app.address)).expect("an address");
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let requests = tokio_stream::once(ServerReflectionRequest { host: String::new(), message_request });
        let mut client = ServerReflectionClient::new(endpoint.connect_lazy());
        let mut answers = client.server_reflection_info(requests).await.expect("answers").into_inner();
        match answers.message().await.expect("an answer").and_then(|answer| answer.message_response) {
            Some(MessageResponse::ListServicesResponse(list)) => {
                list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
            }
            other => panic!("no list: {other:?}"),
        }
    }};
}

#[tokio::test]
async fn reflection_is_open_to_everyone_in_both_versions() {
    let app = App::start().await;
    for services in [services_by_reflection!(app, v1), services_by_reflection!(app, v1alpha)] {
        for service in ["UploadSessions", "PrintDocuments", "PrintJobs", "PrintCatalog"] {
            assert!(services.contains(&format!("print.upload.v1.{service}")), "{service} in {services:?}");
        }
    }
}
