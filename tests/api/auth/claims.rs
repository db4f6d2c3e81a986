//! Claims as issuers really write them: lists, applications' tokens, identities in capitals.

use print_upload::proto::principal::Identity;
use serde_json::json;
use tonic::Code;

use crate::harness::{App, CATALOG_CLIENT, ErrorExt, TENANT, application_claims, user_claims};

const SMALL: &str = "0f9d3a52-7a6d-4c59-9f0c-0a1b2c3d4e5f";
const CAPITAL: &str = "0F9D3A52-7A6D-4C59-9F0C-0A1B2C3D4E5F";

#[tokio::test]
async fn scopes_may_be_an_array_and_roles_a_text() {
    let app = App::start().await;
    let scopes = json!(["PrintJob.ReadWrite", "Printer.Read.All", "PrintJob.Create"]);
    let ada = user_claims().with("scp", scopes).with("roles", "ignored").signed();
    let document = app.new_document().await;
    let session = app.bearer(&ada).create(&document, 10).await.expect("a user's token");
    app.bearer(&ada).get(&session.name).await.expect("her session");
    let robot = application_claims().with("roles", "PrintJob.ReadWrite.All Printer.Read.All").signed();
    app.bearer(&robot).create(&app.new_document().await, 10).await.expect("an application's token");
    let few = user_claims().with("scp", json!(["Printer.Read.All"])).signed();
    let refused = app.bearer(&few).create(&document, 10).await.expect_err("no permission");
    assert_eq!(refused.code_and_reason(), (Code::PermissionDenied, "PERMISSION_MISSING".into()));
}

#[tokio::test]
async fn the_claim_that_is_wrong_or_missing_is_named() {
    let app = App::start().await;
    let without_idtyp = application_claims().without("idtyp");
    let table = [
        (user_claims().with("scp", 7), "`scp`"),
        (user_claims().with("scp", json!([7])), "`scp`"),
        (user_claims().with("oid", json!(["ada"])), "`oid`"),
        (application_claims().with("roles", json!({"a": 1})), "`roles`"),
        (user_claims().with("exp", "tomorrow"), "`exp`"),
        (user_claims().with("nbf", json!([])), "`nbf`"),
        (without_idtyp.clone(), "optional claim `idtyp`"),
        (without_idtyp.with("oid", "ada").with("idtyp", "user"), "optional claim `idtyp`"),
        (application_claims().with("scp", "PrintJob.Read"), "`scp`, as a user's has, and `idtyp`"),
    ];
    for (claims, named) in table {
        let error = app.bearer(&claims.signed()).get("uploadSessions/x").await.expect_err("a wrong token");
        assert_eq!(error.code_and_reason(), (Code::Unauthenticated, "TOKEN_CLAIMS_INVALID".into()), "{named}");
        assert!(error.message().contains(named), "{named}: {}", error.message());
    }
}

#[tokio::test]
async fn a_guid_in_capitals_is_the_same_user_or_application() {
    let app = App::with([("catalog-client", &format!("{CATALOG_CLIENT},{CAPITAL}"))]).await;
    let as_user = |oid: &str| app.bearer(&user_claims().with("oid", oid).signed());
    let document = app.new_document_of(CAPITAL).await;
    let session = as_user(SMALL).create(&document, 10).await.expect("her document");
    as_user(CAPITAL).delete(&session.name).await.expect("her session");
    let owner = as_user(SMALL).get(&session.name).await.expect("her session").owner.expect("an owner").identity;
    assert_eq!(owner, Some(Identity::User(SMALL.into())));

    for claim in ["azp", "appid"] {
        let claims = application_claims().without("azp").with(claim, SMALL);
        let claims = claims.with("roles", json!(["PrintCatalog.ReadWrite.All"]));
        let mut catalog = app.bearer(&claims.signed());
        let tenant =
            print_upload::proto::Tenant { name: format!("tenants/{TENANT}"), subscription_active: true, revision: 7 };
        let request = print_upload::proto::UpsertTenantRequest { tenant: Some(tenant) };
        catalog.client.catalog.upsert_tenant(request).await.expect("it maintains the catalog");
    }

    let document = app.new_document_without_task(Identity::Application(CAPITAL.into())).await;
    let task = |state| print_upload::proto::PrintTask {
        name: format!("{}/tasks/t", crate::harness::job_of(&document)),
        trigger_application: CAPITAL.into(),
        state,
        revision: 1,
    };
    let processing = print_upload::proto::print_task::State::Processing.into();
    let request = print_upload::proto::UpsertPrintTaskRequest { print_task: Some(task(processing)) };
    app.catalog().client.catalog.upsert_print_task(request).await.expect("a task");
    let robot = application_claims().with("azp", SMALL).signed();
    app.bearer(&robot).create(&document, 10).await.expect("its own task is in processing");
}
