//! The sample catalog of `up`, and the users and applications in it.

use std::time::{Duration, SystemTime};

use print_upload::{catalog::Catalog, guard::PERSONAL_ACCOUNTS_TENANT};
use print_upload_client::proto::{self, principal::Identity, print_task};
use serde_json::json;
use uuid::{Uuid, uuid};

use super::issuer::{KeyType, Subject, TOKEN_LIFETIME, TokenIssuer};

/// The sample tenant.
pub const TENANT: Uuid = uuid!("5f1d2c6e-8a0b-4c3d-9e4f-1a2b3c4d5e6f");
/// Another tenant, with its own subscription and printer.
pub const FOREIGN_TENANT: Uuid = uuid!("c0ffee00-1234-4abc-8def-0123456789ab");

/// The user who created the sample jobs.
pub const OWNER: &str = "11111111-1111-4111-8111-111111111111";
/// Another user of the same tenant.
pub const OTHER: &str = "22222222-2222-4222-8222-222222222222";
/// A user of the other tenant.
const FOREIGNER: &str = "33333333-3333-4333-8333-333333333333";
/// The application whose trigger has started a task on the sample jobs.
pub const APPLICATION: &str = "44444444-4444-4444-8444-444444444444";
/// The application that maintains the catalog.
pub const CATALOG_CLIENT: &str = "55555555-5555-4555-8555-555555555555";

/// The sample printer.
pub const PRINTER: &str = "66666666-6666-4666-8666-666666666666";
/// The share that leads to it.
pub const SHARE: &str = "77777777-7777-4777-8777-777777777777";

/// The sample catalog. Every start has new jobs, so that there is always a document that awaits its upload.
#[derive(Debug, Clone)]
pub struct Sample {
    pub catalog: Catalog,
    /// The first job, with its document.
    pub job: (String, Uuid),
    /// The second job, with its document.
    pub second_job: (String, Uuid),
}

impl Sample {
    /// The sample catalog, with jobs that are numbered by the clock.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let number = now.as_millis() % 1_000_000_000;
        let job = (number.to_string(), Uuid::new_v4());
        let second_job = ((number + 1).to_string(), Uuid::new_v4());
        let revision = i64::try_from(now.as_millis()).unwrap_or_default();

        let tenants = [TENANT, FOREIGN_TENANT];
        let jobs = [&job, &second_job];
        let catalog = Catalog {
            tenants: tenants
                .map(|tenant| proto::Tenant { name: format!("tenants/{tenant}"), subscription_active: true, revision })
                .into(),
            printers: tenants
                .map(|tenant| proto::Printer { name: format!("tenants/{tenant}/printers/{PRINTER}"), revision })
                .into(),
            shares: vec![proto::PrinterShare {
                name: format!("tenants/{TENANT}/shares/{SHARE}"),
                printer: PRINTER.into(),
                revision,
            }],
            jobs: jobs
                .map(|(job, document)| proto::CatalogPrintJob {
                    name: format!("tenants/{TENANT}/printers/{PRINTER}/jobs/{job}"),
                    creator: Some(proto::Principal { identity: Some(Identity::User(OWNER.into())) }),
                    document: document.to_string(),
                    revision,
                })
                .into(),
            tasks: jobs
                .map(|(job, _)| proto::PrintTask {
                    name: format!("tenants/{TENANT}/printers/{PRINTER}/jobs/{job}/tasks/1"),
                    trigger_application: APPLICATION.into(),
                    state: print_task::State::Processing.into(),
                    revision,
                })
                .into(),
        };
        Self { catalog, job, second_job }
    }

    /// The resource name of a job's document.
    pub fn document_name((job, document): &(String, Uuid)) -> String {
        format!("printers/{PRINTER}/jobs/{job}/documents/{document}")
    }
}

impl Default for Sample {
    fn default() -> Self {
        Self::new()
    }
}

/// A token for everyone in the sample, by the name that `dev.env` gives it.
pub fn tokens(issuer: &TokenIssuer) -> anyhow::Result<Vec<(&'static str, String)>> {
    let user = |tenant, oid: &str, scopes: &[&str]| {
        let scopes = scopes.iter().map(|&scope| scope.into()).collect();
        issuer.issue(tenant, &Subject::User { oid: oid.into(), scopes }, TOKEN_LIFETIME)
    };
    let application = |app_id: &str, roles: &[&str]| {
        let roles = roles.iter().map(|&role| role.into()).collect();
        issuer.issue(TENANT, &Subject::Application { app_id: app_id.into(), roles }, TOKEN_LIFETIME)
    };
    let own = ["PrintJob.Create", "PrintJob.ReadWrite", "Printer.Read.All", "PrinterShare.ReadBasic.All"];
    let all = ["PrintJob.ReadWrite.All", "Printer.Read.All", "PrinterShare.ReadBasic.All"];
    Ok(vec![
        ("OWNER_TOKEN", user(TENANT, OWNER, &own)?),
        ("OTHER_TOKEN", user(TENANT, OTHER, &all)?),
        ("APP_TOKEN", application(APPLICATION, &["PrintJob.ReadWrite.All", "Printer.Read.All"])?),
        ("FOREIGN_TOKEN", user(FOREIGN_TENANT, FOREIGNER, &all)?),
        ("CATALOG_TOKEN", application(CATALOG_CLIENT, &["PrintCatalog.ReadWrite.All"])?),
        ("WEAK_TOKEN", user(TENANT, OWNER, &["PrintJob.Read", "Printer.Read.All"])?),
        ("PERSONAL_TOKEN", user(PERSONAL_ACCOUNTS_TENANT, OWNER, &own)?),
        ("EXPIRED_TOKEN", expired(issuer, &own)?),
    ])
}

fn expired(issuer: &TokenIssuer, scopes: &[&str]) -> anyhow::Result<String> {
    const AN_HOUR: u64 = Duration::from_secs(3600).as_secs();
    let now = jsonwebtoken::get_current_timestamp();
    let claims = json!({
        "iss": issuer.address.replace("{tenantid}", &TENANT.to_string()),
        "aud": super::issuer::AUDIENCE,
        "iat": now - 2 * AN_HOUR,
        "nbf": now - 2 * AN_HOUR,
        "exp": now - AN_HOUR,
        "tid": TENANT,
        "ver": "2.0",
        "oid": OWNER,
        "scp": scopes.join(" "),
    });
    issuer.sign(&claims, KeyType::Rsa)
}
