//! What operators see of the program: one log line per request, traces over OTLP, metrics for Prometheus. None of them
//! ever contains a token, an upload URL, a query or a body.
//!
//! [`observer`] wraps every request. [`observe`] reports RPCs; the gateway has its own report for REST requests. Inner
//! modules add what only they know, for example the caller, to the request's [`RequestLog`].

mod body;
pub mod meters;
mod methods;
pub mod observer;
mod request_id;
mod request_log;
mod rpc;
pub mod traces;

use std::{
    io::{self, IsTerminal},
    net::SocketAddr,
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use opentelemetry::trace::TracerProvider;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

pub use body::ObservedBody;
pub use request_id::RequestId;
pub use request_log::{CallerKind, RequestLog};
pub use rpc::observe;
pub use traces::Traces;

/// How many log lines may wait to be read. Further lines are dropped, so that no call ever waits for a reader.
const WAITING_LINES: usize = 10_000;

/// Counts dropped lines. One per process.
static DROPPED_LINES: OnceLock<ErrorCounter> = OnceLock::new();

/// How long writing the last lines may take when the program ends.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1500);

/// How operators observe the program.
#[derive(Debug, Clone, Default, Args)]
pub struct Telemetry {
    /// Address to serve /metrics, /healthz and /readyz on, as plain HTTP. Port 0 chooses a free port. Without this
    /// option they are not served.
    #[arg(long, env = "ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,

    /// OTLP collector that traces are sent to over gRPC, http://host:4317 or https://host:4317. Without it there are no
    /// traces. OpenTelemetry's other variables (OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, …) are used as well, and a
    /// warning names those that are not: no other protocol is spoken.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
}

/// The thread that writes the log. Once this is dropped, nothing more is written.
#[derive(Debug)]
#[must_use]
pub struct Logs(WorkerGuard);

impl Logs {
    /// Writes the lines that still wait, within a time limit.
    pub fn flush(self) {
        write_in_time(|| drop(self.0));
    }
}

/// Runs a write at the end of the program, within a time limit: a write to a full pipe would block until it is read.
pub fn write_in_time(write: impl FnOnce() + Send + 'static) {
    let (writing, written) = mpsc::channel::<()>();
    thread::spawn(move || {
        write();
        drop(writing);
    });
    // Always an error: nothing is ever sent, the sender is dropped.
    let _ = written.recv_timeout(FLUSH_TIMEOUT);
}

/// How many log lines have been dropped because too many earlier ones had not been read.
pub fn dropped_lines() -> u64 {
    DROPPED_LINES.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

/// Starts logging to standard error, as text or as JSON lines. `RUST_LOG` selects the lines; without it, they are those
/// of `level` and above. With a collector, traces are sent to it under the name `service`, unless `OTEL_SERVICE_NAME`
/// is set.
pub fn init(
    json: bool,
    level: &str,
    service: &'static str,
    otlp_endpoint: Option<&str>,
) -> anyhow::Result<(Logs, Traces)> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let (writer, unwritten) = NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES).finish(io::stderr());
    let dropped_lines = writer.error_counter();
    let logs =
        tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(io::stderr().is_terminal()).with_target(false);
    let logs = if json { logs.json().boxed() } else { logs.boxed() };
    let logs = logs.with_filter(filter);

    let traces = match otlp_endpoint.filter(|endpoint| !endpoint.is_empty()) {
        Some(endpoint) => Traces::to(endpoint, service).with_context(|| format!("--otlp-endpoint {endpoint}"))?,
        None => Traces::default(),
    };
    let spans = traces.provider().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("print-upload"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_level(false)
            .with_filter(filter_fn(traces::is_traced))
    });
    // In a program that embeds this one, a second call does not change the logs of the first one.
    if tracing_subscriber::registry().with(spans).with(logs).try_init().is_ok() {
        DROPPED_LINES.get_or_init(|| dropped_lines);
    } else {
        tracing::debug!("logs were set up before");
    }
    if traces.provider().is_some() {
        Traces::warn_of_variables();
    }
    Ok((Logs(unwritten), traces))
}
