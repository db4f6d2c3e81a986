//! Builds the service from its configuration, and serves it on its listeners.

use std::{env, sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use axum::{Router, middleware};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, health_reporter},
};
use tower::ServiceBuilder;

use crate::{
    admin::{AdminServer, ServiceProbe},
    app_state::AppState,
    blobs::Blobs,
    config::Config,
    gateway,
    guard::{self, Guard, Issuers, RangePermits, Rates, Rules, UploadUrls},
    http_options::HttpOptions,
    listen::{self, Drained, Endpoint, Protocol},
    proto::{DESCRIPTOR, print_catalog_server, print_documents_server, print_jobs_server, upload_sessions_server},
    reclaim,
    relay::Relay,
    rpc,
    secret_files::DatabaseUrl,
    store::{Schema, Store},
    sweeper, telemetry,
    tls::Certificate,
    writers::Writers,
};

/// The services whose health is reported.
const SERVICE_NAMES: [&str; 4] = [
    upload_sessions_server::SERVICE_NAME,
    print_documents_server::SERVICE_NAME,
    print_jobs_server::SERVICE_NAME,
    print_catalog_server::SERVICE_NAME,
];

/// The largest message of a call that needs no credential. It contains the name of a service or of a symbol.
const MAX_OPEN_MESSAGE_BYTES: usize = 4 * 1024;

/// How long the service waits for its background tasks when it stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The listeners of the service.
#[derive(Debug)]
pub struct Listeners {
    pub grpc: TcpListener,
    /// For the REST gateway; `None` if it is not served.
    pub rest: Option<TcpListener>,
    /// For operators (`/metrics`, `/healthz`, `/readyz`); `None` if they are not served.
    pub admin: Option<TcpListener>,
}

/// A service that is ready to serve.
#[derive(Debug)]
pub struct Server {
    app: AppState,
    guard: Arc<Guard>,
    certificate: Option<Certificate>,
    database: DatabaseUrl,
    http: HttpOptions,
}

impl Server {
    /// Checks the configuration and builds the service. Uses no network.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        ensure!(
            config.session_idle_timeout <= config.session_lifetime,
            "--session-idle-timeout must not be longer than --session-lifetime"
        );
        let database_url = config.database.read()?;
        let issuers = Issuers::new(&config.issuers, config.issuers.ca()?.as_deref())?;
        let upload_urls = Arc::new(UploadUrls::new(&config.public_url, &config.upload_token_keys.read()?)?);
        let connections = config.database_connections;
        let store =
            Store::connect_lazily(database_url.expose_secret(), connections, config.batch_limits(), config.terms())
                .context("the address of the database")?;
        let spool = config.spool_dir.clone().unwrap_or_else(env::temp_dir);
        let blobs = Blobs::open(&config.store, config.store_settings.as_deref(), &spool).context("--store")?;
        let guard = Guard {
            rules: Rules::load()?,
            issuers: Arc::new(issuers),
            upload_urls: Arc::clone(&upload_urls),
            store: store.clone(),
            catalog_clients: config.catalog_clients.clone(),
            range_permits: RangePermits::new(config.max_transfers as usize),
            rates: Rates::new(config.quotas.rates()),
        };
        let writers = Writers::new(config.max_writers as usize);
        let app = AppState {
            store: store.clone(),
            blobs,
            relay: Arc::new(Relay::new(store, Arc::clone(&writers))),
            writers,
            upload_urls,
            downloads: Arc::new(Semaphore::new(config.max_transfers as usize)),
            limits: config.limits(),
            wake_reclaim: Arc::new(Notify::new()),
        };
        let certificate = config.tls.load()?;
        let database = config.database.clone();
        Ok(Self { app, guard: Arc::new(guard), certificate, database, http: config.http.clone() })
    }

    /// Fails unless the database has this program's schema or a newer one, and the object store supports what is
    /// needed.
    pub async fn check(&self) -> anyhow::Result<()> {
        let schema = self.app.store.schema().await.context("asking the database for its schema")?;
        match schema {
            Schema::Older(missing) => bail!("{missing}: run `print-upload migrate`"),
            Schema::Current => {}
            // For example, an old replica that is restarted during a rolling update.
            Schema::Newer => tracing::warn!("the database has a newer schema than this program knows"),
        }
        self.app.blobs.check().await.context("--store")
    }

    /// Serves until `shutdown` completes. Then it reports that it is not ready, and a little later it accepts no new
    /// connections, and waits at most the drain timeout for the calls in progress.
    pub async fn serve(
        self,
        listeners: Listeners,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<Drained> {
        self.serve_with(listeners, |rest| rest, shutdown).await
    }

    /// Serves as `serve` does. The REST listener serves what `around_rest` makes of the gateway's routes. Only for
    /// development: what is added has no request ids, no log lines and no bounds of its own.
    pub async fn serve_with(
        self,
        listeners: Listeners,
        around_rest: impl FnOnce(Router) -> Router,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<Drained> {
        let (leaving, stopping) = (CancellationToken::new(), CancellationToken::new());
        let background = Background::start(&self.app, &self.guard.issuers, self.database.clone());
        let probe = ServiceProbe::new(self.app.clone(), Arc::clone(&self.guard.issuers), leaving.clone());
        let admin = AdminServer::start(listeners.admin, probe);

        let (health, open_routes) = open_routes().await?;
        let (grpc, rest) = (listeners.grpc, listeners.rest);
        let endpoints = self.endpoints(grpc, rest, open_routes, around_rest, &stopping);
        let delay = self.http.shutdown_delay;
        let shutdown = async move {
            shutdown.await;
            leaving.cancel();
            set_not_serving(&health).await;
            // Until a balancer has noticed, it sends new connections.
            sleep(delay).await;
        };
        let drained = listen::serve(endpoints, self.certificate, self.http.lifetimes(), stopping, shutdown).await;
        background.stop(&self.app.store).await;
        admin.stop().await?;
        drained
    }

    fn endpoints(
        &self,
        grpc: TcpListener,
        rest: Option<TcpListener>,
        open_routes: Router,
        around_rest: impl FnOnce(Router) -> Router,
        stopping: &CancellationToken,
    ) -> Vec<Endpoint> {
        let own_routes = self.own_routes();
        let rest = rest.map(|listener| {
            let upstream = gateway::Upstream::in_process(own_routes.clone());
            let router = around_rest(gateway::router(upstream, stopping.clone(), &self.http.cors_origins));
            Endpoint { listener, protocol: Protocol::Http, router }
        });
        let grpc = Endpoint { listener: grpc, protocol: Protocol::Grpc, router: open_routes.merge(own_routes) };
        rest.into_iter().chain([grpc]).collect()
    }

    /// The routes of the service's own calls, which all need a credential.
    fn own_routes(&self) -> Router {
        // The first layer is the outermost.
        let layers = ServiceBuilder::new()
            .layer(middleware::from_fn(telemetry::observe))
            .layer(middleware::from_fn_with_state(Arc::clone(&self.guard), guard::check));
        let routes = rpc::routes(self.app.clone()).into_axum_router();
        // The open routes have the fallback for both.
        routes.reset_fallback().route_layer(layers)
    }
}

/// The tasks that run beside the calls.
struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    fn start(app: &AppState, issuers: &Arc<Issuers>, database: DatabaseUrl) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (issuers, stop_refresh) = (Arc::clone(issuers), stop.clone());
        tasks.spawn(async move { issuers.refresh_until(stop_refresh).await });
        let (store, stop_following) = (app.store.clone(), stop.clone());
        tasks.spawn(async move {
            let use_address = |url: &SecretString| Ok(store.use_address(url.expose_secret())?);
            stop_following.run_until_cancelled(database.follow(use_address)).await
        });
        tasks.spawn(sweeper::run(app.clone(), stop.clone()));
        tasks.spawn(reclaim::run(app.clone(), stop.clone()));
        tasks.spawn(Arc::clone(&app.relay).run(stop.clone()));
        tasks.close();
        Self { tasks, stop }
    }

    /// Waits for the tasks, then closes the connections to the database.
    async fn stop(self, store: &Store) {
        self.stop.cancel();
        let stopped = async {
            self.tasks.wait().await;
            store.close().await;
        };
        if timeout(STOP_TIMEOUT, stopped).await.is_err() {
            tracing::warn!("a database call was still in progress when the service stopped");
        }
    }
}

/// The routes of health and reflection: they need no credential, and are observed like all calls.
async fn open_routes() -> anyhow::Result<(HealthReporter, Router)> {
    let (reporter, health) = health_reporter();
    for service in SERVICE_NAMES {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // With these, tools can print the details of errors.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(health.max_decoding_message_size(MAX_OPEN_MESSAGE_BYTES))
        .add_service(reflection().build_v1()?.max_decoding_message_size(MAX_OPEN_MESSAGE_BYTES))
        // grpcurl before 1.8.8 supports only this version.
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(MAX_OPEN_MESSAGE_BYTES));
    Ok((reporter, routes.into_axum_router().layer(middleware::from_fn(telemetry::observe))))
}

async fn set_not_serving(health: &HealthReporter) {
    for service in SERVICE_NAMES.into_iter().chain([""]) {
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
}
