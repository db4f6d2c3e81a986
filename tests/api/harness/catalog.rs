//! What tests need of the catalog: printers, shares, jobs with their documents, subscriptions.

use print_upload::proto::{self, principal::Identity, print_task};
use uuid::Uuid;

use super::{App, FOREIGN_TENANT, ROBOT, SIZE, TENANT, job_of, sample_bytes};

impl App {
    /// Creates a job of ada's and returns its document's name.
    pub async fn new_document(&self) -> String {
        self.new_document_of("ada").await
    }

    /// Creates a job of a user's and returns its document's name.
    pub async fn new_document_of(&self, oid: &str) -> String {
        self.new_document_by(Identity::User(oid.into())).await
    }

    /// Creates a job of any creator's and returns its document's name. A task of the robot's is in `processing` on it.
    pub async fn new_document_by(&self, creator: Identity) -> String {
        let document = self.new_document_without_task(creator).await;
        let name = format!("{}/tasks/robot", job_of(&document));
        let state = print_task::State::Processing.into();
        let print_task = Some(proto::PrintTask { name, trigger_application: ROBOT.into(), state, revision: 1 });
        let request = proto::UpsertPrintTaskRequest { print_task };
        self.catalog().client.catalog.upsert_print_task(request).await.expect("a task");
        document
    }

    /// The same without the task.
    pub async fn new_document_without_task(&self, creator: Identity) -> String {
        let (job, document) = (Uuid::new_v4(), Uuid::new_v4());
        let print_job = proto::CatalogPrintJob {
            name: format!("tenants/{TENANT}/printers/p/jobs/{job}"),
            creator: Some(proto::Principal { identity: Some(creator) }),
            document: document.to_string(),
            revision: 1,
        };
        let request = proto::UpsertPrintJobRequest { print_job: Some(print_job) };
        self.catalog().client.catalog.upsert_print_job(request).await.expect("a job");
        format!("printers/p/jobs/{job}/documents/{document}")
    }

    /// Uploads a document of ada's and returns its name.
    pub async fn uploaded_document(&self) -> String {
        let (mut ada, document, bytes) = (self.ada(), self.new_document().await, sample_bytes(SIZE));
        let session = ada.create(&document, SIZE).await.expect("a session");
        ada.send(&session, &bytes, 0..SIZE).await.expect("the document");
        document
    }

    /// Starts or ends a tenant's subscription.
    pub async fn subscribe(&self, tenant: Uuid, active: bool, revision: i64) {
        let name = format!("tenants/{tenant}");
        let tenant = proto::Tenant { name, subscription_active: active, revision };
        let request = proto::UpsertTenantRequest { tenant: Some(tenant) };
        self.catalog().client.catalog.upsert_tenant(request).await.expect("a tenant");
    }

    /// Pushes printer `p` and share `s` in both tenants.
    pub async fn push_printers(&self) {
        for tenant in [TENANT, FOREIGN_TENANT] {
            self.push_tenant(tenant).await;
        }
    }

    /// Pushes a tenant with printer `p` and share `s`.
    pub async fn push_tenant(&self, tenant: Uuid) {
        let catalog = &mut self.catalog().client.catalog;
        let name = |entry: &str| format!("tenants/{tenant}{entry}");
        let tenant = proto::Tenant { name: name(""), subscription_active: true, revision: 1 };
        catalog.upsert_tenant(proto::UpsertTenantRequest { tenant: Some(tenant) }).await.expect("a tenant");
        let printer = proto::Printer { name: name("/printers/p"), revision: 1 };
        catalog.upsert_printer(proto::UpsertPrinterRequest { printer: Some(printer) }).await.expect("a printer");
        let printer_share = proto::PrinterShare { name: name("/shares/s"), printer: "p".into(), revision: 1 };
        let request = proto::UpsertPrinterShareRequest { printer_share: Some(printer_share) };
        catalog.upsert_printer_share(request).await.expect("a share");
    }
}
