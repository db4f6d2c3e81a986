//! The service under test.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, time::Duration};

use print_upload::{
    config::Config,
    listen::Drained,
    proto::{self, principal::Identity, print_task},
    server::{Listeners, Server},
};
use print_upload_dev::issuer::{AUDIENCE, Subject};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Actor, FOREIGN_TENANT, Port, RestActor, SIZE, TENANT, database::Database, issuer, job_of, sample_bytes};

pub const CATALOG_CLIENT: &str = "catalog-service";
pub const ROBOT: &str = "robot";

/// How long anything may take that does not happen at once, also on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// A service with a database and a folder of its own, and a catalog: printer `p`, share `s`, in both tenants.
#[derive(Debug)]
pub struct App {
    /// Where it serves gRPC.
    pub address: SocketAddr,
    /// Where its REST gateway serves.
    pub rest_address: SocketAddr,
    /// Where it serves gRPC and REST again after a stop.
    ports: [Port; 2],
    flags: BTreeMap<String, String>,
    running: Option<Running>,
    pub database: Database,
    folder: TempDir,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    serving: JoinHandle<anyhow::Result<Drained>>,
}

impl App {
    /// Starts the service as it is configured by default.
    pub async fn start() -> Self {
        Self::with([]).await
    }

    /// Starts the service with flags of `serve`, without their dashes.
    pub async fn with<const N: usize>(flags: [(&str, &str); N]) -> Self {
        let database = Database::create().await;
        let folder = tempfile::tempdir().expect("a folder");
        let store = format!("file://{}", folder.path().join("bytes").display());
        let defaults = [
            ("database-url", database.url.as_str()),
            ("database-connections", "8"),
            ("store", store.as_str()),
            ("issuer", issuer().address.as_str()),
            ("audience", AUDIENCE),
            ("catalog-client", CATALOG_CLIENT),
            ("upload-token-key", "a key for tests that nobody must guess"),
            ("keys-refetch", "50ms"),
            ("drain-timeout", "5s"),
        ];
        let flags = defaults.into_iter().chain(flags).map(|(flag, value)| (flag.to_owned(), value.to_owned()));
        let ports = [Port::reserve(), Port::reserve()];
        let [address, rest_address] = [ports[0].address, ports[1].address];
        let flags = flags.collect();
        let mut app = Self { address, rest_address, ports, flags, running: None, database, folder };
        app.run().await;
        app.push_printers().await;
        app
    }

    /// Starts the service again, on the same data, with its addresses unchanged.
    pub async fn run(&mut self) {
        let flags = self.flags.iter().map(|(flag, value)| (flag.as_str(), value.as_str()));
        let server = Server::new(&Config::from_flags(flags).expect("a configuration")).expect("a server");
        let [grpc, rest] = &self.ports;
        let listeners = Listeners { grpc: grpc.listen().await, rest: Some(rest.listen().await), admin: None };
        [self.address, self.rest_address] = [grpc.address, rest.address];
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(listeners, stop.clone().cancelled_owned()));
        self.running = Some(Running { stop, serving });
    }

    /// Stops the service, gracefully.
    pub async fn stop(&mut self) -> Drained {
        let running = self.running.take().expect("a running service");
        running.stop.cancel();
        running.serving.await.expect("no panic").expect("served")
    }

    /// Changes a flag for the next start.
    pub fn set_flag(&mut self, flag: &str, value: &str) {
        self.flags.insert(flag.into(), value.into());
    }

    /// Says something in another way at the next start.
    pub fn replace_flag(&mut self, flag: &str, other: &str, value: &str) {
        self.flags.remove(flag);
        self.set_flag(other, value);
    }

    /// The value of a flag.
    pub fn flag(&self, flag: &str) -> &str {
        &self.flags[flag]
    }

    /// Every flag that the service was started with.
    pub fn flags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.flags.iter().map(|(flag, value)| (flag.as_str(), value.as_str()))
    }

    /// A caller over REST.
    pub fn rest(&self, actor: &Actor) -> RestActor {
        actor.rest(self.rest_address)
    }

    /// A caller over REST who shows nothing.
    pub fn rest_nobody(&self) -> RestActor {
        RestActor::new(self.rest_address, None)
    }

    /// A way into the database beside the service's.
    pub fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// A user of a tenant, with scopes.
    pub fn user(&self, tenant: Uuid, oid: &str, scopes: &[&str]) -> Actor {
        let scopes = scopes.iter().map(|&scope| scope.into()).collect();
        self.actor(tenant, &Subject::User { oid: oid.into(), scopes })
    }

    /// An application in a tenant, with roles.
    pub fn application(&self, tenant: Uuid, app_id: &str, roles: &[&str]) -> Actor {
        let roles = roles.iter().map(|&role| role.into()).collect();
        self.actor(tenant, &Subject::Application { app_id: app_id.into(), roles })
    }

    /// A caller with any token, or with anything that pretends to be one.
    pub fn bearer(&self, token: &str) -> Actor {
        Actor::with_access_token(self.address, token)
    }

    fn actor(&self, tenant: Uuid, subject: &Subject) -> Actor {
        let token = issuer().issue(tenant, subject, Duration::from_secs(600)).expect("a token");
        self.bearer(&token)
    }

    /// The user who creates the jobs.
    pub fn ada(&self) -> Actor {
        self.user(
            TENANT,
            "ada",
            &["PrintJob.ReadWrite", "PrintJob.Create", "Printer.Read.All", "PrinterShare.Read.All"],
        )
    }

    /// The same with a token that admits to uploading, and to no look at what is uploaded.
    pub fn ada_who_may_not_look(&self) -> Actor {
        self.user(TENANT, "ada", &["PrintJob.Create", "Printer.Read.All"])
    }

    /// Another user of the tenant, who may do whatever a user may.
    pub fn bob(&self) -> Actor {
        self.user(TENANT, "bob", &["PrintJob.ReadWrite.All", "Printer.Read.All", "PrinterShare.Read.All"])
    }

    /// An application of the tenant.
    pub fn robot(&self) -> Actor {
        self.application(TENANT, ROBOT, &["PrintJob.ReadWrite.All", "Printer.Read.All"])
    }

    /// A user of the other tenant, with ada's object id, who may do whatever a user may.
    pub fn mallory(&self) -> Actor {
        self.user(FOREIGN_TENANT, "ada", &["PrintJob.ReadWrite.All", "Printer.Read.All", "PrinterShare.Read.All"])
    }

    /// The application that maintains the catalog.
    pub fn catalog(&self) -> Actor {
        self.application(TENANT, CATALOG_CLIENT, &["PrintCatalog.ReadWrite.All"])
    }

    /// A new job of ada's; answers its document's name.
    pub async fn new_document(&self) -> String {
        self.new_document_of("ada").await
    }

    /// A new job of a user's; answers its document's name.
    pub async fn new_document_of(&self, oid: &str) -> String {
        self.new_document_by(Identity::User(oid.into())).await
    }

    /// A new job of a user's or an application's, on which a trigger of the robot has started a task; answers its
    /// document's name.
    pub async fn new_document_by(&self, creator: Identity) -> String {
        let document = self.new_document_without_task(creator).await;
        let name = format!("{}/tasks/robot", job_of(&document));
        let state = print_task::State::Processing.into();
        let print_task = Some(proto::PrintTask { name, trigger_application: ROBOT.into(), state, revision: 1 });
        let request = proto::UpsertPrintTaskRequest { print_task };
        self.catalog().client.catalog.upsert_print_task(request).await.expect("a task");
        document
    }

    /// A new job of a user's or an application's, on which no task was started; answers its document's name.
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

    /// A document of ada's with its bytes uploaded; answers its name.
    pub async fn uploaded_document(&self) -> String {
        let (mut ada, document, bytes) = (self.ada(), self.new_document().await, sample_bytes(SIZE));
        let session = ada.create(&document, SIZE).await.expect("a session");
        ada.send(&session, &bytes, 0..SIZE).await.expect("the document");
        document
    }

    /// Begins or ends a tenant's subscription.
    pub async fn subscribe(&self, tenant: Uuid, active: bool, revision: i64) {
        let name = format!("tenants/{tenant}");
        let tenant = proto::Tenant { name, subscription_active: active, revision };
        let request = proto::UpsertTenantRequest { tenant: Some(tenant) };
        self.catalog().client.catalog.upsert_tenant(request).await.expect("a tenant");
    }

    async fn push_printers(&self) {
        let catalog = &mut self.catalog().client.catalog;
        for tenant in [TENANT, FOREIGN_TENANT] {
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

    /// The folder of all bytes.
    pub fn bytes_folder(&self) -> PathBuf {
        self.folder.path().join("bytes")
    }

    /// The folder of a session's bytes.
    pub fn session_folder(&self, session: &proto::UploadSession) -> PathBuf {
        self.bytes_folder().join(TENANT.to_string()).join(&session.etag)
    }

    /// The files that a session has in the store, staged ones included; none when its folder is gone.
    pub fn files_of(&self, session: &proto::UploadSession) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.session_folder(session)) else { return Vec::new() };
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    /// Whether nothing of a session is in the store, not even its folder.
    pub fn is_reclaimed(&self, session: &proto::UploadSession) -> bool {
        !self.session_folder(session).exists()
    }

    /// Moves a session's expiry into the past: it is due, and nobody has swept it yet.
    pub async fn make_due(&self, session: &proto::UploadSession) {
        let id: Uuid = session.etag.parse().expect("an id");
        let changed =
            sqlx::query("update upload_session set expire_time = now() - interval '1 second' where session_id = $1")
                .bind(id)
                .execute(self.pool())
                .await
                .expect("an update");
        assert_eq!(changed.rows_affected(), 1);
    }
}

/// Waits until a condition holds, and fails when it does not in time.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "it never came to pass that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
