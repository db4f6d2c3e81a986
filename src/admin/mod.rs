//! The operators' own listener, plain HTTP beside the doors: `/metrics` for Prometheus, `/healthz` and `/readyz` for
//! whoever starts the program and sends it traffic. It answers until the last call has ended, and never for long.

mod gateway;
mod service;

use std::{future::Future, sync::Arc, time::Duration};

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
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

pub use gateway::GatewayProbe;
pub use service::ServiceProbe;

use crate::{
    listen::{self, Door, Protocol},
    telemetry::{self, meters},
};

/// How long `/readyz` and `/metrics` wait for what they ask, and a scrape for those before it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often what has been measured is put in its buckets, so that it does not pile up where nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How long a request under way may take to end at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What is asked about: a service or a gateway.
pub trait Probe: Send + Sync + 'static {
    /// Shows at zero what is to be counted.
    fn begin(&self) {}

    /// Why it cannot serve, in plain words; nothing when it can.
    fn obstacle(&self) -> impl Future<Output = Option<String>> + Send;

    /// Brings the gauges up to date.
    fn measure(&self) -> impl Future<Output = ()> + Send;
}

struct Admin<P> {
    probe: P,
    recorder: Option<&'static PrometheusHandle>,
    /// One scrape at a time: several services in one process have their gauges in common.
    scrape: Mutex<()>,
}

/// Serves until `stop`. Counts from the call on, before the first poll: what is counted before is lost.
pub fn serve(
    listener: TcpListener,
    probe: impl Probe,
    stop: CancellationToken,
) -> impl Future<Output = anyhow::Result<()>> + Send {
    let recorder = meters::record();
    probe.begin();
    run(listener, probe, recorder, stop)
}

async fn run(
    listener: TcpListener,
    probe: impl Probe,
    recorder: Option<&'static PrometheusHandle>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let admin = Arc::new(Admin { probe, recorder, scrape: Mutex::default() });
    let door = Door { listener, protocol: Protocol::Http, router: router(admin) };
    let serving =
        listen::serve(vec![door], None, DRAIN_TIMEOUT, CancellationToken::new(), stop.clone().cancelled_owned());
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
