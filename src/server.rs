//! The service put together: configuration in, calls out.

use std::{env, future::Future, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use axum::{Router, middleware};
use secrecy::ExposeSecret;
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, health_reporter},
};

use crate::{
    admin::{self, ServiceProbe},
    blobs::Blobs,
    config::Config,
    gateway,
    guard::{self, Guard, Issuers, Rules, Unproved, UploadUrls},
    listen::{self, Door, Drained, Protocol},
    proto::{DESCRIPTOR, print_catalog_server, print_documents_server, print_jobs_server, upload_sessions_server},
    relay::Relay,
    rpc,
    services::Services,
    store::{Schema, Store},
    sweeper, telemetry,
    tls::Certificate,
    writers::Writers,
};

/// What says of itself whether it serves.
const SERVICES: [&str; 4] = [
    upload_sessions_server::SERVICE_NAME,
    print_documents_server::SERVICE_NAME,
    print_jobs_server::SERVICE_NAME,
    print_catalog_server::SERVICE_NAME,
];

/// The largest message that is taken from those who prove nothing: the name of a service, or of a symbol.
const MAX_OPEN_MESSAGE_BYTES: usize = 4 * 1024;

/// How long the service waits for its own work when it stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the service is reached.
#[derive(Debug)]
pub struct Listeners {
    /// gRPC.
    pub grpc: TcpListener,
    /// The REST gateway in front of it, if there is to be one.
    pub rest: Option<TcpListener>,
    /// What operators ask (`/metrics`, `/healthz`, `/readyz`), if they may.
    pub admin: Option<TcpListener>,
}

/// A service that is ready to serve.
#[derive(Debug)]
pub struct Server {
    services: Services,
    guard: Arc<Guard>,
    certificate: Option<Certificate>,
    drain_timeout: Duration,
}

impl Server {
    /// Checks the configuration, as far as that needs no other machine.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        ensure!(
            config.session_idle_timeout <= config.session_lifetime,
            "--session-idle-timeout must not be longer than --session-lifetime"
        );
        let database_url = config.database.read()?;
        let issuer_ca = config.issuer_ca()?;
        let issuers = Issuers::new(
            &config.issuers,
            issuer_ca.as_deref(),
            config.audiences.clone(),
            config.keys_refresh,
            config.keys_refetch,
        )?;
        let upload_urls = Arc::new(UploadUrls::new(&config.public_url, &config.upload_token_keys.read()?)?);
        let store = Store::connect_lazily(database_url.expose_secret(), config.database_connections, config.terms())
            .context("the address of the database")?;
        let spool = config.spool_dir.clone().unwrap_or_else(env::temp_dir);
        let blobs = Blobs::open(&config.store, config.store_settings.as_deref(), &spool).context("--store")?;
        let guard = Guard {
            rules: Rules::load()?,
            issuers: Arc::new(issuers),
            upload_urls: Arc::clone(&upload_urls),
            store: store.clone(),
            catalog_clients: config.catalog_clients.clone(),
            ranges: Arc::new(Semaphore::new(config.max_transfers as usize)),
            unproved: Unproved::new(config.max_transfers as usize),
        };
        let writers = Writers::new(config.max_writers as usize);
        let services = Services {
            store: store.clone(),
            blobs,
            relay: Arc::new(Relay::new(store, Arc::clone(&writers))),
            writers,
            upload_urls,
            downloads: Arc::new(Semaphore::new(config.max_transfers as usize)),
            limits: config.limits(),
            wake_sweeper: Arc::new(Notify::new()),
        };
        let certificate = config.tls.load()?;
        Ok(Self { services, guard: Arc::new(guard), certificate, drain_timeout: config.drain_timeout })
    }

    /// Fails unless the database has the schema of this program or a newer one, and the store does what it will be asked for.
    pub async fn check(&self) -> anyhow::Result<()> {
        let schema = self.services.store.schema().await.context("asking the database for its schema")?;
        ensure!(
            schema != Schema::Older,
            "the database does not have this program's schema: run `print-upload migrate`"
        );
        if schema == Schema::Newer {
            // An old replica that is restarted in the middle of a rolling update.
            tracing::warn!("the database has a newer schema than this program knows");
        }
        self.services.blobs.check().await.context("--store")
    }

    /// Serves until `shutdown`; then accepts nothing new and lets calls end within the drain timeout.
    pub async fn serve(
        self,
        listeners: Listeners,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<Drained> {
        let [stop, stopping, stop_admin] = [(); 3].map(|()| CancellationToken::new());
        let background = TaskTracker::new();
        let issuers = Arc::clone(&self.guard.issuers);
        let refresh_stop = stop.clone();
        background.spawn(async move { issuers.refresh_until(refresh_stop).await });
        background.spawn(sweeper::run(self.services.clone(), stop.clone()));
        background.spawn(Arc::clone(&self.services.relay).run(stop.clone()));
        background.close();
        let admin = listeners.admin.map(|listener| {
            let probe = ServiceProbe::new(self.services.clone(), Arc::clone(&self.guard.issuers), stopping.clone());
            tokio::spawn(admin::serve(listener, probe, stop_admin.clone()))
        });

        let (health, open) = open_routes().await?;
        let guarded = rpc::routes(self.services.clone()).into_axum_router().reset_fallback();
        let guarded = guarded.route_layer(middleware::from_fn_with_state(Arc::clone(&self.guard), guard::check));
        let log = middleware::from_fn(telemetry::observe);
        let mut doors = Vec::new();
        if let Some(listener) = listeners.rest {
            let upstream = gateway::in_process(guarded.clone().layer(log.clone()));
            let router = gateway::router(upstream, stopping.clone());
            doors.push(Door { listener, protocol: Protocol::Http, router });
        }
        let router = open.merge(guarded).layer(log);
        doors.push(Door { listener: listeners.grpc, protocol: Protocol::Grpc, router });

        let shutdown = async move {
            shutdown.await;
            say_not_serving(&health).await;
        };
        let drained = listen::serve(doors, self.certificate, self.drain_timeout, stopping, shutdown).await;
        stop.cancel();
        let stopped = async {
            background.wait().await;
            self.services.store.close().await;
        };
        if timeout(STOP_TIMEOUT, stopped).await.is_err() {
            tracing::warn!("a database call is still under way, and is left alone");
        }
        stop_admin.cancel();
        if let Some(admin) = admin {
            admin.await.context("the admin listener")??;
        }
        drained
    }
}

/// Health and reflection, open to everyone: other routes, not exceptions to the rules.
async fn open_routes() -> anyhow::Result<(HealthReporter, Router)> {
    let (reporter, health) = health_reporter();
    for service in SERVICES {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that tools can show the details of errors.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(health.max_decoding_message_size(MAX_OPEN_MESSAGE_BYTES))
        .add_service(reflection().build_v1()?.max_decoding_message_size(MAX_OPEN_MESSAGE_BYTES))
        // grpcurl before 1.8.8 speaks only this one.
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(MAX_OPEN_MESSAGE_BYTES));
    Ok((reporter, routes.into_axum_router()))
}

async fn say_not_serving(health: &HealthReporter) {
    for service in SERVICES.into_iter().chain([""]) {
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
}
