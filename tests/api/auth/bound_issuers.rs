//! Issuers that are bound to tenants: two issuers do not trust each other.

use print_upload::{config::Config, server::Server};
use print_upload_dev::issuer::KeyType;
use tonic::Code;

use super::issuers::{get_session, refusal};
use crate::harness::{
    App, Authority, CATALOG_CLIENT, ErrorExt, FOREIGN_TENANT, Rpc, SIZE, TENANT, application_claims, issuer,
    user_claims,
};

/// The issuer of a partner signs what it wants. It must not be believed for the tenants of others.
#[tokio::test]
async fn an_issuer_that_is_bound_to_tenants_signs_for_no_other() {
    let (fixed, template) = (Authority::fixed().await, Authority::template().await);
    let issuers = [fixed.bound_to(FOREIGN_TENANT), template.bound_to(FOREIGN_TENANT), issuer().address.clone()];
    let mut app = App::with([("issuer", issuers.join(",").as_str()), ("keys-refetch", "1ms")]).await;
    let session = app.ada().create(&app.new_document().await, SIZE).await.expect("a session");
    let foreign = user_claims().with("tid", FOREIGN_TENANT.to_string());
    let unknown = (Code::Unauthenticated, "TOKEN_ISSUER_UNKNOWN".to_owned());
    for authority in [&fixed, &template] {
        for claims in
            [user_claims(), application_claims(), user_claims().with("tid", TENANT.to_string().to_uppercase())]
        {
            assert_eq!(refusal(&app, &authority.sign(&claims, KeyType::Rsa), &session).await, unknown);
        }
        let own = refusal(&app, &authority.sign(&foreign, KeyType::Rsa), &session).await;
        assert_eq!(own, (Code::NotFound, "UPLOAD_SESSION_NOT_FOUND".into()), "it is believed in its own tenant");
    }

    // Several tenants of one issuer.
    app.stop().await;
    app.set_flag("issuer", &format!("{},{TENANT},{}", fixed.bound_to(FOREIGN_TENANT), issuer().address));
    app.run().await;
    get_session(&app, &fixed.sign(&user_claims(), KeyType::Rsa), &session).await.expect("its second tenant");
    assert_eq!(refusal(&app, &fixed.sign(&foreign, KeyType::Rsa), &session).await.0, Code::NotFound);
}

/// An application of the catalog is known by its client id, which the issuer of a partner could sign as well.
#[tokio::test]
async fn an_application_maintains_the_catalog_of_its_issuers_tenants_only() {
    let partner = Authority::fixed().await;
    let issuers = [partner.bound_to(FOREIGN_TENANT), issuer().address.clone()];
    let app = App::with([("issuer", issuers.join(",").as_str())]).await;
    let claims = application_claims().with("azp", CATALOG_CLIENT).with("tid", FOREIGN_TENANT.to_string());
    let claims = claims.with("roles", vec!["PrintCatalog.ReadWrite.All"]);
    let mut catalog = app.bearer(&partner.sign(&claims, KeyType::Rsa));
    for rpc in Rpc::OF_CATALOG {
        let refused = catalog.call(rpc, &rpc.catalog_entry(TENANT)).await.expect_err("another tenant");
        assert_eq!(refused.code_and_reason(), (Code::PermissionDenied, "NOT_CATALOG_CLIENT".into()), "{rpc:?}");
    }
    let rpc = Rpc::UpsertPrinter;
    catalog.call(rpc, &rpc.catalog_entry(FOREIGN_TENANT)).await.expect("its issuer's tenant");
    app.catalog().call(rpc, &rpc.catalog_entry(TENANT)).await.expect("its issuer speaks for every tenant");
}

#[tokio::test]
async fn an_issuer_for_all_tenants_beside_others_keeps_the_service_from_starting() {
    let mut app = App::start().await;
    app.stop().await;
    let own = issuer().address.clone();
    for (issuers, problem) in [
        (format!("{own},https://partner.example"), "issuer https://partner.example: has no {tenantid}"),
        (format!("{own},https://partner.example=contoso"), "must be ADDRESS=TENANT, with a GUID"),
        (format!("{own},{TENANT}"), "follows no ADDRESS=TENANT"),
        (format!("{own}={TENANT},{own}={FOREIGN_TENANT}"), "is given twice"),
    ] {
        app.set_flag("issuer", &issuers);
        let config = Config::from_flags(app.flags()).expect("a configuration");
        let error = Server::new(&config).await.expect_err(&issuers).to_string();
        assert!(error.contains(problem), "{issuers}: {error}");
    }
    for issuers in ["https://partner.example".to_owned(), format!("{own},https://partner.example={TENANT}")] {
        app.set_flag("issuer", &issuers);
        let config = Config::from_flags(app.flags()).expect("a configuration");
        Server::new(&config).await.unwrap_or_else(|error| panic!("{issuers}: {error:#}"));
    }
}
