//! The operators' own listener, plain HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever starts the
//! program and sends it traffic. It answers until the last call has ended, and no answer takes long.

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
use metrics::counter;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    sync::Mutex,
    task::JoinHandle,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

pub use gateway::GatewayProbe;
pub use service::ServiceProbe;

use crate::{
    listen::{self, Endpoint, Protocol},
    telemetry::{self, meters},
};

/// How long `/readyz` and `/metrics` wait for the probe, and a scrape for the scrapes before it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often measured values are put in their buckets, so that they do not pile up where nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How long a request under way may take when the listener stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How to find out about the program: a service or a gateway.
pub trait Probe: Send + Sync + 'static {
    /// Sets the counters to zero, so that they can be seen before their first event.
    fn begin(&self) {}

    /// Why it cannot serve, in plain words; nothing when it can.
    fn obstacle(&self) -> impl Future<Output = Option<String>> + Send;

    /// Brings the gauges up to date.
    fn measure(&self) -> impl Future<Output = ()> + Send;
}

struct Admin<P> {
    probe: P,
    recorder: Option<&'static PrometheusHandle>,
    /// One scrape at a time: several services in one process share their gauges.
    scrape: Mutex<()>,
}

/// The task that answers operators, where they have a listener.
pub struct AdminServer(Option<(JoinHandle<anyhow::Result<()>>, CancellationToken)>);

impl AdminServer {
    /// Starts the task. Everything that happens after this call is counted; what happened before is lost.
    pub fn start(listener: Option<TcpListener>, probe: impl Probe) -> Self {
        let Some(listener) = listener else { return Self(None) };
        let recorder = meters::record();
        probe.begin();
        let stop = CancellationToken::new();
        Self(Some((tokio::spawn(serve(listener, probe, recorder, stop.clone())), stop)))
    }

    /// Stops the task, and returns how it went.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Some((serving, stop)) = self.0 else { return Ok(()) };
        stop.cancel();
        serving.await.context("the admin listener")?
    }
}

async fn serve(
    listener: TcpListener,
    probe: impl Probe,
    recorder: Option<&'static PrometheusHandle>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let admin = Arc::new(Admin { probe, recorder, scrape: Mutex::default() });
    let endpoint = Endpoint { listener, protocol: Protocol::Http, router: router(admin) };
    let serving = listen::serve(vec![endpoint], None, DRAIN_TIMEOUT, CancellationToken::new(), stop.cancelled_owned());
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
    let slow = || Some("it takes too long to find out".to_owned());
    match timeout(PROBE_TIMEOUT, admin.probe.obstacle()).await.unwrap_or_else(|_| slow()) {
        None => "ready\n".into_response(),
        Some(obstacle) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {obstacle}\n")).into_response(),
    }
}

async fn scrape<P: Probe>(State(admin): State<Arc<Admin<P>>>) -> Response {
    let Some(recorder) = admin.recorder else {
        return (StatusCode::NOT_FOUND, "metrics go elsewhere: another recorder was set up first\n").into_response();
    };
    let measure = async {
        let one_at_a_time = admin.scrape.lock().await;
        admin.probe.measure().await;
        counter!(meters::LOG_LINES_DROPPED).absolute(telemetry::lost_lines());
        one_at_a_time
    };
    let Ok(_one_at_a_time) = timeout(PROBE_TIMEOUT, measure).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "other scrapes are under way, and take too long\n").into_response();
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorder.render()).into_response()
}
