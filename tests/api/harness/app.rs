//! The service under test.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, time::Duration};

use print_upload::{
    config::Config,
    listen::Drained,
    proto::UploadSession,
    server::{Listeners, Server},
};
use print_upload_dev::issuer::AUDIENCE;
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Port, TENANT, database::Database, issuer};

pub const CATALOG_CLIENT: &str = "catalog-service";
pub const ROBOT: &str = "robot";

/// How long tests wait for anything. Long enough for a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A service with a database and a folder of its own, and a catalog: printer `p`, share `s`, in both tenants.
#[derive(Debug)]
pub struct App {
    /// Where it serves gRPC.
    pub address: SocketAddr,
    /// Where its REST gateway serves.
    pub rest_address: SocketAddr,
    /// Ports for gRPC and REST. It keeps them across a stop.
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
    /// Starts the service with its default configuration.
    pub async fn start() -> Self {
        Self::with([]).await
    }

    /// Starts the service with flags of `serve`, without their dashes.
    pub async fn with<const N: usize>(flags: [(&str, &str); N]) -> Self {
        let mut app = Self::on(Database::create().await, flags);
        app.run().await;
        app.push_printers().await;
        app
    }

    /// A stopped service on a database, without any catalog but the database's.
    pub fn on<const N: usize>(database: Database, flags: [(&str, &str); N]) -> Self {
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
            ("shutdown-delay", "0s"),
        ];
        let flags = defaults.into_iter().chain(flags).map(|(flag, value)| (flag.to_owned(), value.to_owned()));
        let ports = [Port::reserve(), Port::reserve()];
        let [address, rest_address] = [ports[0].address, ports[1].address];
        let flags = flags.collect();
        Self { address, rest_address, ports, flags, running: None, database, folder }
    }

    /// A stopped service and a document of ada's, for a program that serves the same data.
    pub async fn stopped() -> (Self, String) {
        let mut app = Self::start().await;
        let document = app.new_document().await;
        app.stop().await;
        (app, document)
    }

    /// Starts the service again, on the same data and the same addresses.
    pub async fn run(&mut self) {
        let flags = self.flags.iter().map(|(flag, value)| (flag.as_str(), value.as_str()));
        let config = Config::from_flags(flags).expect("a configuration");
        let server = Server::new(&config).await.expect("a server");
        // Boxed, as the futures of tests are on their stacks.
        Box::pin(server.check()).await.expect("a database and a store");
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

    /// Uses another flag in place of `flag` for the next start.
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

    /// The test's own connections to the database.
    pub fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// The folder of all bytes.
    pub fn bytes_folder(&self) -> PathBuf {
        self.folder.path().join("bytes")
    }

    /// The folder of a session's bytes.
    pub fn session_folder(&self, session: &UploadSession) -> PathBuf {
        self.bytes_folder().join(TENANT.to_string()).join(&session.etag)
    }

    /// The files of a session in the store, staged ones included. None when its folder does not exist.
    pub fn files_of(&self, session: &UploadSession) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.session_folder(session)) else { return Vec::new() };
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    /// Whether the store holds nothing of a session, not even its folder.
    pub fn is_reclaimed(&self, session: &UploadSession) -> bool {
        !self.session_folder(session).exists()
    }

    /// Moves a session's expiry into the past. The session is overdue, and the sweeper has not ended it yet.
    pub async fn make_overdue(&self, session: &UploadSession) {
        let id: Uuid = session.etag.parse().expect("an id");
        let overdue =
            "update upload_session set (expire_time, sweep_time) = (now() - interval '1 s', now() - interval '1 s')
                       where session_id = $1";
        let changed = sqlx::query(overdue).bind(id).execute(self.pool()).await.expect("an update");
        assert_eq!(changed.rows_affected(), 1);
    }
}

/// Waits until a condition holds. Panics when it does not hold in time.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
