//! Builds the service from its configuration, and serves it on its listeners.

use std::{env, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use axum::{Router, middleware};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceBuilder;

use crate::{
    admin::{AdminServer, ServiceProbe},
    app_state::AppState,
    blobs::{self, Blobs, OpenError},
    config::Config,
    gateway,
    guard::{self, Guard, Issuers, Rates, Rules, UploadUrls},
    health,
    http_options::HttpOptions,
    listen::{self, Drained, Endpoint, Protocol},
    open_calls,
    permits::{Kind, Permits},
    reclaim::{self, Claims},
    relay::Relay,
    rpc,
    secret_files::{DatabaseUrl, UploadTokenKeys},
    store::{Schema, Store},
    store_identity::{self, CompareError},
    sweeper, telemetry,
    tls::Certificate,
    writers::Writers,
};

/// How much longer than a download may stall an answer may wait for its caller: the handler ends a download first.
const ANSWER_MARGIN: Duration = Duration::from_secs(30);

/// When a store that does not answer at the start is logged. The waiting itself is limited by `blobs`.
const SLOW_STORE: Duration = Duration::from_secs(3);

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
    upload_token_keys: UploadTokenKeys,
    http: HttpOptions,
    has_reflection: bool,
}

impl Server {
    /// Checks the configuration and builds the service. Uses no network, except that it asks the database before it
    /// makes the folder of the object store.
    pub async fn new(config: &Config) -> anyhow::Result<Self> {
        ensure!(
            config.session_idle_timeout <= config.session_lifetime,
            "--session-idle-timeout must not be longer than --session-lifetime"
        );
        config.retention.check(&config.quotas.quotas())?;
        let database_url = config.database.read()?;
        let issuers = Issuers::new(&config.issuers, config.issuers.ca()?.as_deref())?;
        let upload_urls = Arc::new(UploadUrls::new(&config.public_url, &config.upload_token_keys.read()?)?);
        let connections = config.database_connections;
        let store =
            Store::connect_lazily(database_url.expose_secret(), connections, config.batch_limits(), config.terms())
                .context("the address of the database")?;
        let blobs = Box::pin(open_blobs(config, &store)).await?;
        let permits = |kind| Permits::new(kind, config.max_transfers as usize, config.fair_transfers);
        let range_permits = permits(Kind::Range);
        let guard = Guard {
            rules: Rules::load()?,
            issuers: Arc::new(issuers),
            upload_urls: Arc::clone(&upload_urls),
            store: store.clone(),
            catalog_clients: config.catalog_clients.clone(),
            range_permits: range_permits.clone(),
            rates: Rates::new(config.quotas.rates()),
        };
        let writers = Writers::new(config.max_writers as usize);
        let app = AppState {
            store: store.clone(),
            blobs,
            relay: Arc::new(Relay::new(store, Arc::clone(&writers))),
            writers,
            upload_urls,
            range_permits,
            download_permits: permits(Kind::Download),
            limits: config.limits(),
            claims: Claims::new(),
        };
        let certificate = config.tls.load()?;
        let (database, http, has_reflection) = (config.database.clone(), config.http.clone(), config.reflection);
        let upload_token_keys = config.upload_token_keys.clone();
        Ok(Self { app, guard: Arc::new(guard), certificate, database, upload_token_keys, http, has_reflection })
    }

    /// Fails unless the database has this program's schema or a newer one, and the object store supports what is
    /// needed. With another store than the one that the database belongs to, it succeeds, and the service is not ready:
    /// calls that need no bytes work.
    pub async fn check(&self) -> anyhow::Result<()> {
        let schema = self.app.store.schema().await.context("asking the database for its schema")?;
        match schema {
            Schema::Older(missing) => bail!("{missing}: run `print-upload migrate`"),
            Schema::Current => {}
            // For example, an old replica that is restarted during a rolling update.
            Schema::Newer => tracing::warn!("the database has a newer schema than this program knows"),
        }
        log_if_slow(Box::pin(self.check_store())).await
    }

    async fn check_store(&self) -> anyhow::Result<()> {
        match store_identity::compare(&self.app.store, &self.app.blobs).await {
            Ok(()) => self.app.blobs.check().await.context("--store"),
            // It was logged. The volume may be mounted later.
            Err(CompareError::Blobs(blobs::Error::Mismatch(_))) => Ok(()),
            Err(CompareError::Blobs(error)) => Err(OpenError::Unusable(error)).context("--store"),
            Err(CompareError::Database(error)) => Err(error).context("asking the database for its object store"),
        }
    }

    /// Logs a warning if a crash of the database's machine may lose what was committed.
    pub async fn warn_of_fsync_off(&self) {
        match self.app.store.has_fsync_off().await {
            Ok(true) => tracing::warn!("the database has fsync = off: a crash of its machine may lose everything"),
            Ok(false) => {}
            Err(error) => tracing::debug!(error = %error, "whether the database has fsync = off is not known"),
        }
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
        let background =
            Background::start(&self.app, &self.guard.issuers, self.database.clone(), self.upload_token_keys.clone());
        let connections = self.http.connections_with(self.app.limits.range_timeout + ANSWER_MARGIN);
        let issuers = Arc::clone(&self.guard.issuers);
        let probe = ServiceProbe::new(self.app.clone(), issuers, Arc::clone(&connections), leaving.clone());
        let admin = AdminServer::start(listeners.admin, probe);

        let (health, open_routes) = open_calls::routes(self.has_reflection)?;
        let reporting = health::report(health, &self.app, leaving.clone()).await;
        let (grpc, rest) = (listeners.grpc, listeners.rest);
        let endpoints = self.endpoints(grpc, rest, open_routes, around_rest, &stopping);
        let delay = self.http.shutdown_delay;
        let shutdown = async move {
            shutdown.await;
            leaving.cancel();
            drop(reporting.await);
            // Until a balancer has noticed, it sends new connections.
            sleep(delay).await;
        };
        let drained = listen::serve(endpoints, self.certificate, connections, stopping, shutdown).await;
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

/// Opens the object store. Its folder is made if it is missing, but only while the database belongs to no store:
/// otherwise a volume is not mounted.
async fn open_blobs(config: &Config, store: &Store) -> anyhow::Result<Blobs> {
    if Blobs::missing_folder(&config.store).is_some() {
        let identity = store.object_store().await.context("asking the database for its object store")?;
        // Another replica that starts first may have made and adopted it meanwhile, so that it is looked for again.
        if let (Some(identity), Some(folder)) = (identity, Blobs::missing_folder(&config.store)) {
            bail!(
                "--store: the folder {} does not exist, but the database belongs to the object store {identity}: mount \
                 its volume or correct --store",
                folder.display()
            );
        }
    }
    let spool = config.spool_dir.clone().unwrap_or_else(env::temp_dir);
    Blobs::open(&config.store, config.store_settings.as_deref(), &spool).context("--store")
}

/// Waits for the checks of the object store. Meanwhile no port is open that could report why.
async fn log_if_slow<T>(checks: impl Future<Output = T>) -> T {
    let mut checks = pin!(checks);
    if let Ok(checked) = timeout(SLOW_STORE, &mut checks).await {
        return checked;
    }
    tracing::warn!("not ready yet: waiting for the object store");
    checks.await
}

/// The tasks that run beside the calls.
struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    fn start(
        app: &AppState,
        issuers: &Arc<Issuers>,
        database: DatabaseUrl,
        upload_token_keys: UploadTokenKeys,
    ) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (issuers, stop_refresh) = (Arc::clone(issuers), stop.clone());
        tasks.spawn(async move { issuers.refresh_until(stop_refresh).await });
        let (store, stop_following) = (app.store.clone(), stop.clone());
        tasks.spawn(async move {
            let use_address = |url: &SecretString| Ok(store.use_address(url.expose_secret())?);
            stop_following.run_until_cancelled(database.follow(use_address)).await
        });
        let (upload_urls, stop_following) = (Arc::clone(&app.upload_urls), stop.clone());
        tasks.spawn(async move {
            let use_keys = |keys: &[SecretString]| Ok(upload_urls.use_keys(keys)?);
            stop_following.run_until_cancelled(upload_token_keys.follow(use_keys)).await
        });
        tasks.spawn(sweeper::run(app.clone(), stop.clone()));
        tasks.spawn(reclaim::run(app.clone(), stop.clone()));
        tasks.spawn(store_identity::run(app.clone(), stop.clone()));
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
