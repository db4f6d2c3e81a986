//! Traces: sends spans to a collector over OTLP, and reads and writes W3C Trace Context.
//!
//! A thread of the SDK sends the spans. Its queue is bounded: when the collector is slow or cannot be reached, spans
//! are lost, and no call is affected.

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    KeyValue, TraceId,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, SpanExporter,
    WithTonicConfig,
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::SdkTracerProvider,
};
use tonic::transport::{ClientTlsConfig, Endpoint};
use tracing::{Level, Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// How long the program waits at its end for its last spans to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// How long connecting to the collector may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest `tracestate` that is accepted, in characters: the length that the standard requires every service to
/// pass on. It is limited because callers choose its contents, and every span of the request stores it.
const MAX_TRACESTATE: usize = 512;

/// Variables of OpenTelemetry whose values this program cannot obey, except for the one that is given.
const NOT_OBEYED: [(&str, &str); 7] = [
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ("OTEL_TRACES_EXPORTER", "otlp"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", ""),
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", ""),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", ""),
];

/// Whether traces are collected. If not, the functions of this module do nothing.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// The traces of this program, if it has a collector.
#[derive(Debug, Default)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Sends traces to the collector at `endpoint`. Connects when there is something to send.
    pub(super) fn to(endpoint: &str, service: &'static str) -> anyhow::Result<Self> {
        let mut address = Endpoint::from_shared(endpoint.to_owned()).context("not an address")?;
        anyhow::ensure!(matches!(address.uri().scheme_str(), Some("http" | "https")), "must be http(s)://host:port");
        if address.uri().scheme_str() == Some("https") {
            address = address.tls_config(ClientTlsConfig::new().with_native_roots())?;
        }
        // If the collector does not answer on a connection, it is closed within one export, and opened again. The SDK
        // sets no limits for a channel that was built elsewhere.
        let timeout = export_timeout();
        let channel = address
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .http2_keep_alive_interval(timeout / 4)
            .keep_alive_timeout(timeout / 4)
            .connect_lazy();
        let exporter = SpanExporter::builder().with_tonic().with_channel(channel).build()?;
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(service)).build();
        IS_ON.store(true, Ordering::Relaxed);
        Ok(Self(Some(provider)))
    }

    pub(super) fn provider(&self) -> Option<&SdkTracerProvider> {
        self.0.as_ref()
    }

    /// Warns of variables that ask for something that this program does not do: it sends traces over gRPC, to the
    /// address of its option, and trusts the system's authorities.
    pub(super) fn warn_of_variables() {
        for (variable, obeyed) in NOT_OBEYED {
            let value = env::var(variable).unwrap_or_default();
            if !value.is_empty() && value != obeyed {
                tracing::warn!("{variable} is not obeyed: traces are sent over gRPC to --otlp-endpoint");
            }
        }
    }

    /// Sends the spans that have not been sent yet, within a time limit.
    pub async fn flush(self) {
        let Some(provider) = self.0 else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be sent");
        }
    }
}

/// How long the collector may take for a batch, from OpenTelemetry's variables, which are in milliseconds.
fn export_timeout() -> Duration {
    let configured = [OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT].into_iter().find_map(|variable| {
        let milliseconds = env::var(variable).ok()?.parse().ok()?;
        (milliseconds > 0).then_some(Duration::from_millis(milliseconds))
    });
    configured.unwrap_or(OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT)
}

/// The attributes that all spans have. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
fn resource(service: &'static str) -> Resource {
    let own = [KeyValue::new("service.name", service), KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    let resource = Resource::builder_empty()
        .with_attributes(own)
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

/// Selects this program's own spans, their warnings and errors, and the statements that were run, without their values.
pub(super) fn is_traced(metadata: &Metadata<'_>) -> bool {
    let is_own = metadata.target().starts_with("print_upload");
    if metadata.is_span() {
        return is_own && *metadata.level() <= Level::DEBUG;
    }
    (is_own && *metadata.level() <= Level::WARN) || metadata.target() == "sqlx::query"
}

/// Whether traces are collected.
pub fn are_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// Makes a request's span part of the trace in its headers (`traceparent`), if there is one.
pub fn continue_from(headers: &HeaderMap, span: &Span) {
    if !are_on() {
        return;
    }
    let context = TraceContextPropagator::new().extract(&Incoming(headers));
    if context.span().span_context().is_valid() {
        // Fails only if the span is not collected.
        let _ = span.set_parent(context);
    }
}

/// Writes the span into a request's headers, so that the spans of its receiver belong to the same trace.
pub fn continue_in(headers: &mut HeaderMap, span: &Span) {
    if are_on() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut Outgoing(headers));
    }
}

/// The trace that the span belongs to, if the span is collected.
pub fn id_of(span: &Span) -> Option<TraceId> {
    if !are_on() {
        return None;
    }
    let id = span.context().span().span_context().trace_id();
    (id != TraceId::INVALID).then_some(id)
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key)?.to_str().ok()?;
        (key != "tracestate" || value.len() <= MAX_TRACESTATE).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::from_str(&value)) {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn state_taken_from(tracestate: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(PARENT));
        headers.insert("tracestate", HeaderValue::from_str(tracestate).expect("a header"));
        let context = TraceContextPropagator::new().extract(&Incoming(&headers));
        let span = context.span().span_context().clone();
        assert_eq!(span.trace_id().to_string(), &PARENT[3..35], "the trace continues");
        span.trace_state().header()
    }

    #[test]
    fn a_callers_tracestate_is_accepted_up_to_the_length_that_the_standard_requires() {
        assert_eq!(state_taken_from("vendor=opaque"), "vendor=opaque");
        let entry = |length: usize| format!("a={}", "x".repeat(length));
        let longest = format!("{},b{}", entry(253), entry(253));
        assert_eq!((longest.len(), state_taken_from(&longest)), (MAX_TRACESTATE, longest));
        assert_eq!(state_taken_from(&format!("{},b{}", entry(254), entry(253))), "");
    }
}
