//! The operators' own listener, plain HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz` for orchestrators and
//! load balancers. It answers until the last call has ended. Every response takes at most a few seconds.

mod gateway;
mod service;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::Mutex,
    task::JoinHandle,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

pub use gateway::GatewayProbe;
pub use service::ServiceProbe;

use crate::{
    listen::{self, Connections, Endpoint, Lifetimes, Protocol},
    telemetry::{self, meters},
};

/// How long `/readyz` may take, and a scrape, including its wait for earlier scrapes.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often measured values are put into their buckets. Without this they would pile up when there are no scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The listener's connections are those of a scraper and of a balancer. A request in progress may take a moment when
/// it stops.
const LIFETIMES: Lifetimes = Lifetimes::with(Duration::from_secs(2 * 60), Duration::from_secs(1));

/// How many connections the listener may have.
const MAX_CONNECTIONS: usize = 256;

/// The state of the program: a service or a gateway.
pub trait Probe: Send + Sync + 'static {
    /// Describes the metrics and sets the counters to zero, so that they are visible before their first event.
    fn init_metrics(&self) {}

    /// Why the program cannot serve, in plain words; `None` if it can.
    fn not_ready_reason(&self) -> impl Future<Output = Option<String>> + Send;

    fn update_gauges(&self) -> impl Future<Output = ()> + Send;
}

struct Admin<P> {
    probe: P,
    recorder: Option<&'static PrometheusHandle>,
    /// Memory, descriptors, threads and CPU time of the process.
    process: metrics_process::Collector,
    /// Held during a scrape, because several services in one process share their gauges.
    scrape: Mutex<()>,
}

/// The task that serves operators, if they have a listener.
pub struct AdminServer(Option<(JoinHandle<anyhow::Result<()>>, CancellationToken)>);

impl AdminServer {
    /// Starts the task. Events before this call are not counted.
    pub fn start(listener: Option<TcpListener>, probe: impl Probe) -> Self {
        let Some(listener) = listener else { return Self(None) };
        let (recorder, process) = (meters::record(), metrics_process::Collector::default());
        process.describe();
        probe.init_metrics();
        let admin = Arc::new(Admin { probe, recorder, process, scrape: Mutex::default() });
        let stop = CancellationToken::new();
        Self(Some((tokio::spawn(serve(listener, admin, stop.clone())), stop)))
    }

    /// Stops the task, and returns its result.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Some((serving, stop)) = self.0 else { return Ok(()) };
        stop.cancel();
        serving.await.context("the admin listener")?
    }
}

async fn serve<P: Probe>(listener: TcpListener, admin: Arc<Admin<P>>, stop: CancellationToken) -> anyhow::Result<()> {
    let recorder = admin.recorder;
    let endpoint = Endpoint { listener, protocol: Protocol::Http, router: router(admin) };
    let connections = Connections::up_to(MAX_CONNECTIONS, LIFETIMES);
    let serving = listen::serve(vec![endpoint], None, connections, CancellationToken::new(), stop.cancelled_owned());
    let upkeep = async {
        let mut ticks = interval(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            if let Some(recorder) = recorder {
                recorder.run_upkeep();
            }
        }
    };
    tokio::select! {
        served = serving => served.map(drop),
        () = upkeep => Ok(()),
    }
}

fn router<P: Probe>(admin: Arc<Admin<P>>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready::<P>))
        .route("/metrics", get(scrape::<P>))
        .with_state(admin)
}

async fn ready<P: Probe>(State(admin): State<Arc<Admin<P>>>) -> Response {
    let slow = || Some("the readiness check took too long".to_owned());
    match timeout(PROBE_TIMEOUT, admin.probe.not_ready_reason()).await.unwrap_or_else(|_| slow()) {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

async fn scrape<P: Probe>(State(admin): State<Arc<Admin<P>>>) -> Response {
    let Some(recorder) = admin.recorder else {
        return (StatusCode::NOT_FOUND, "no metrics: the program has installed another recorder\n").into_response();
    };
    let update = async {
        let lock = admin.scrape.lock().await;
        admin.probe.update_gauges().await;
        admin.process.collect();
        gauge!(meters::TASKS).set(Handle::current().metrics().num_alive_tasks() as f64);
        counter!(meters::LOG_LINES_DROPPED).absolute(telemetry::dropped_lines());
        lock
    };
    // Held until the metrics are rendered.
    let Ok(_lock) = timeout(PROBE_TIMEOUT, update).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the scrape, or the scrapes before it, took too long\n")
            .into_response();
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorder.render()).into_response()
}
