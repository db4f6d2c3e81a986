//! `print-upload-dev` `up`, `token`, `demo` and `smoke`: everything on one machine, with one command.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use print_upload::proto::{UploadSession, upload_session::State};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tonic::Code;

use crate::harness::{Actor, ErrorExt, Port, Program, RestActor, eventually, sample_bytes};

const NAMED: [&str; 17] = [
    "GRPC_ADDR",
    "REST_URL",
    "DATABASE_URL",
    "ISSUER",
    "PRINTER",
    "SHARE",
    "JOB",
    "DOCUMENT",
    "DOCUMENT_NAME",
    "OWNER_TOKEN",
    "OTHER_TOKEN",
    "APP_TOKEN",
    "FOREIGN_TOKEN",
    "CATALOG_TOKEN",
    "WEAK_TOKEN",
    "PERSONAL_TOKEN",
    "EXPIRED_TOKEN",
];

/// A running `up`, and the variables of its dev.env.
pub(super) struct Dev {
    program: Program,
    pub(super) variables: BTreeMap<String, String>,
}

impl Dev {
    pub(super) async fn start(folder: &TempDir) -> Self {
        Self::start_with(folder, &[]).await
    }

    pub(super) async fn start_with(folder: &TempDir, flags: &[&str]) -> Self {
        let data_dir = format!("--data-dir={}", folder.path().display());
        let mut arguments = vec!["up", "--listen=127.0.0.1:0", "--rest-listen=127.0.0.1:0", &data_dir];
        arguments.extend(flags);
        let mut program = Program::start_dev(&arguments);
        program.wait_for_line("Ctrl-C stops everything").await;
        Self { program, variables: variables(&folder.path().join("dev.env")) }
    }

    fn actor(&self, token: &str) -> Actor {
        Actor::with_access_token(self.address(), &self.variables[token])
    }

    fn address(&self) -> SocketAddr {
        self.variables["GRPC_ADDR"].parse().expect("an address")
    }

    pub(super) fn document(&self) -> &str {
        &self.variables["DOCUMENT_NAME"]
    }

    pub(super) async fn stop(self) {
        self.program.terminate();
        let (status, said) = self.program.wait_for_end().await;
        assert!(status.success() && said.contains("stopped:"), "{status} {said}");
    }
}

/// A folder that Postgres can enter, also when it runs as another user.
pub(super) fn data_dir() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).expect("a folder");
    folder
}

/// Reads lines of `KEY=value`, as a shell does.
fn variables(file: &Path) -> BTreeMap<String, String> {
    assert_eq!(fs::metadata(file).expect("a file").permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(file).expect("a file");
    let pairs = text.lines().map(|line| line.split_once('=').expect("KEY=value"));
    pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

async fn assert_refused(dev: &Dev, token: &str, session: &UploadSession, code: Code, reason: &str) {
    let refused = dev.actor(token).delete(&session.name).await.expect_err(token);
    assert_eq!(refused.code_and_reason(), (code, reason.into()), "{token}");
}

#[tokio::test]
async fn dev_writes_down_who_is_who_and_they_are() {
    let folder = data_dir();
    let dev = Dev::start(&folder).await;
    for name in NAMED {
        assert!(dev.variables.get(name).is_some_and(|value| !value.is_empty()), "{name}");
    }
    let (mut owner, bytes) = (dev.actor("OWNER_TOKEN"), sample_bytes(1000));
    let session = owner.create(dev.document(), bytes.len()).await.expect("a session");

    assert_refused(&dev, "OTHER_TOKEN", &session, Code::PermissionDenied, "NOT_SESSION_OWNER").await;
    assert_refused(&dev, "APP_TOKEN", &session, Code::PermissionDenied, "NOT_SESSION_OWNER").await;
    assert_refused(&dev, "FOREIGN_TOKEN", &session, Code::NotFound, "UPLOAD_SESSION_NOT_FOUND").await;
    assert_refused(&dev, "WEAK_TOKEN", &session, Code::PermissionDenied, "PERMISSION_MISSING").await;
    assert_refused(&dev, "CATALOG_TOKEN", &session, Code::PermissionDenied, "PERMISSION_MISSING").await;
    assert_refused(&dev, "PERSONAL_TOKEN", &session, Code::PermissionDenied, "PERSONAL_ACCOUNT_NOT_SUPPORTED").await;
    assert_refused(&dev, "EXPIRED_TOKEN", &session, Code::Unauthenticated, "TOKEN_EXPIRED").await;
    let by_share = dev
        .document()
        .replace(&format!("printers/{}", dev.variables["PRINTER"]), &format!("shares/{}", dev.variables["SHARE"]));
    owner.delete(&format!("{by_share}/uploadSession")).await.expect("the owner may, by the share as well");
    assert_eq!(owner.get(&session.name).await.expect("the tombstone").state(), State::Canceled);
    dev.actor("APP_TOKEN").create(dev.document(), 1000).await.expect("the application has a task on the job");

    let mut database = PgConnection::connect(&dev.variables["DATABASE_URL"]).await.expect("the address works");
    let (jobs, tasks): (i64, i64) = sqlx::query_as(
        "select (select count(*) from print_job), (select count(*) from print_task where state = 'processing')",
    )
    .fetch_one(&mut database)
    .await
    .expect("a catalog");
    assert!(jobs >= 2 && tasks >= 1, "{jobs} jobs, {tasks} tasks");
    dev.stop().await;
}

#[tokio::test]
async fn dev_keeps_its_data_across_a_stop_and_a_crash_and_takes_postgres_along() {
    let folder = data_dir();
    // Its tokens name the issuer's port. No other process may take that port while it is stopped.
    let issuer_port = Port::reserve();
    fs::write(folder.path().join("issuer-port"), issuer_port.address.port().to_string()).expect("a file");
    let dev = Dev::start(&folder).await;
    let (document, bytes) = (dev.document().to_owned(), sample_bytes(3000));
    let mut owner = dev.actor("OWNER_TOKEN");
    let session = owner.create(&document, bytes.len()).await.expect("a session");
    owner.send(&session, &bytes, 0..1000).await.expect("a range");
    let (old_token, old_url) = (dev.variables["OWNER_TOKEN"].clone(), dev.variables["DATABASE_URL"].clone());
    dev.stop().await;
    assert_postgres_has_stopped(&old_url).await;

    let dev = Dev::start(&folder).await;
    let mut owner = Actor::with_access_token(dev.address(), &old_token);
    assert_eq!(owner.get(&session.name).await.expect("the session").received_bytes, 1000);
    owner.send(&session, &bytes, 1000..2000).await.expect("a range");
    let old_url = dev.variables["DATABASE_URL"].clone();
    dev.program.kill().await;
    assert_postgres_has_stopped(&old_url).await;

    let dev = Dev::start(&folder).await;
    let mut owner = Actor::with_access_token(dev.address(), &old_token);
    assert_eq!(owner.get(&session.name).await.expect("the session").received_bytes, 2000);
    owner.send(&session, &bytes, 2000..3000).await.expect("the rest");
    assert_eq!(owner.download(&document, 0).await.expect("a download").1, bytes);
    dev.stop().await;
}

async fn assert_postgres_has_stopped(url: &str) {
    let options: PgConnectOptions = url.parse().expect("an address");
    let address = (options.get_host().to_owned(), options.get_port());
    eventually("its Postgres has stopped", async || TcpStream::connect(address.clone()).await.is_err()).await;
}

#[tokio::test]
async fn token_mints_what_dev_accepts() {
    let folder = data_dir();
    let data_dir = format!("--data-dir={}", folder.path().display());
    let (status, said) = Program::run_dev(&["token", "--user=zoe", "--scope=PrintJob.ReadWrite", &data_dir]).await;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("print-upload-dev up"), "{said}");

    let dev = Dev::start(&folder).await;
    let scopes = "--scope=PrintJob.ReadWrite.All,Printer.Read.All";
    let (status, token) = Program::run_dev(&["token", "--user=zoe", scopes, &data_dir]).await;
    assert!(status.success(), "{token}");
    let mut zoe = Actor::with_access_token(dev.address(), token.trim());
    let session = zoe.create(dev.document(), 1000).await.expect("a session");
    let owner = session.owner.expect("an owner").identity;
    assert_eq!(owner, Some(print_upload::proto::principal::Identity::User("zoe".into())));

    let role = ["token", "--application=toaster", "--role=PrintJob.ReadWrite.All,Printer.Read.All", &data_dir];
    let (status, token) = Program::run_dev(&role).await;
    assert!(status.success(), "{token}");
    let refused = Actor::with_access_token(dev.address(), token.trim()).get(&session.name).await.expect_err("not its");
    assert_eq!(refused.code_and_reason(), (Code::PermissionDenied, "NOT_SESSION_OWNER".into()));
    dev.stop().await;
}

#[tokio::test]
async fn a_second_dev_on_the_same_data_is_refused() {
    let folder = data_dir();
    let dev = Dev::start(&folder).await;
    let data_dir = format!("--data-dir={}", folder.path().display());

    let (status, said) =
        Program::run_dev(&["up", "--listen=127.0.0.1:0", "--rest-listen=127.0.0.1:0", &data_dir]).await;

    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("another process uses"), "{said}");
    dev.actor("OWNER_TOKEN").create(dev.document(), 1000).await.expect("the first still works");
    dev.stop().await;
}

#[tokio::test]
async fn dev_serves_rest_and_its_upload_urls_lead_there() {
    let folder = data_dir();
    let dev = Dev::start(&folder).await;
    let url = &dev.variables["REST_URL"];
    let owner = RestActor::over(reqwest::Client::new(), url, Some(&dev.variables["OWNER_TOKEN"]));
    let upload_url = owner.begin(dev.document(), 1000).await;
    assert!(upload_url.starts_with(&format!("{url}/uploadSessions/")), "{upload_url}");
    let whoever = reqwest::get(&upload_url).await.expect("an answer, wherever the URL leads");
    assert_eq!(whoever.status().as_u16(), 200);
    assert_eq!(owner.cancel(dev.document()).await.status, 204);
    dev.stop().await;
}

#[tokio::test]
async fn dev_speaks_tls_with_the_authority_that_it_names() {
    let folder = data_dir();
    let dev = Dev::start_with(&folder, &["--tls"]).await;
    let ca = fs::read(&dev.variables["CA_CERT"]).expect("the authority");
    let ca = reqwest::Certificate::from_pem(&ca).expect("a certificate");
    let http = reqwest::Client::builder().tls_certs_only([ca]).build().expect("a client");
    let url = &dev.variables["REST_URL"];
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    for url in [url.clone(), url.replace("127.0.0.1", "localhost")] {
        let owner = RestActor::over(http.clone(), &url, Some(&dev.variables["OWNER_TOKEN"]));
        owner.begin(dev.document(), 1000).await;
        assert_eq!(owner.cancel(dev.document()).await.status, 204);
    }
    dev.stop().await;
}

#[tokio::test]
async fn the_demo_holds() {
    let (status, said) = Program::run_dev(&["demo"]).await;
    assert!(status.success() && said.contains("All of it held."), "{said}");
}

#[tokio::test]
async fn what_smoke_checks_holds_and_it_reports_what_does_not() {
    let folder = data_dir();
    let dev = Dev::start(&folder).await;
    let data_dir = format!("--data-dir={}", folder.path().display());
    let server = format!("--server={}", dev.variables["GRPC_ADDR"]);
    let rest = format!("--rest-url={}", dev.variables["REST_URL"]);

    let (status, said) = Program::run_dev(&["smoke", &server, &rest, &data_dir]).await;
    assert!(status.success() && said.contains("was not checked") && said.contains("all 44 checks held"), "{said}");
    let store = format!("--store=file://{}", folder.path().join("bytes").display());
    let (status, said) = Program::run_dev(&["smoke", &server, &rest, &data_dir, &store]).await;
    assert!(status.success() && said.contains("all 49 checks held"), "{said}");
    let elsewhere = format!("--store=file://{}", folder.path().join("elsewhere").display());
    let (status, said) = Program::run_dev(&["smoke", &server, &rest, &data_dir, &elsewhere]).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("not so: the object store holds what was sent"), "{said}");

    let no_service = format!("--rest-url={}/elsewhere", dev.variables["REST_URL"].replace("http:", "https:"));
    let (status, said) = Program::run_dev(&["smoke", &server, &no_service, &data_dir]).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("ok  gRPC") && said.contains("print-upload-dev: creating a session"), "{said}");
    dev.stop().await;
}
