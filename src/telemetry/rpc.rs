//! The layer around every RPC: its span, its log line and its metrics. All three are written when the whole answer has
//! gone, trailers included, or when the caller has hung up.

use std::time::{Duration, Instant};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue},
    middleware::Next,
    response::Response,
};
use print_upload_client::code_name;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use super::{Observed, Observer, RequestId, RequestLog, meters, methods, traces};

/// The middleware around every RPC.
pub async fn observe(mut request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let method = methods::named_in(request.uri().path());
    let (log, span) = (RequestLog::default(), span_of(method, &id));
    traces::continue_from(request.headers(), &span);
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(log.clone());
    let request = request.map(|body| Observed::body(body, log.clone()));
    let mut call = Call { method, id, begun: Instant::now(), log, span: span.clone(), sent: 0, outcome: None };

    let mut response = next.run(request).instrument(span).await;
    if let Ok(id) = HeaderValue::from_str(&call.id) {
        response.headers_mut().insert("request-id", id);
    }
    call.look_for_status(response.headers());
    response.map(|body| Observed::body(body, call))
}

/// Probes come every few seconds: they are counted, and leave nothing else when they go well, or when their caller has heard
/// enough, as every Watch ends.
fn is_probe(method: &str) -> bool {
    method.starts_with("grpc.health.v1.")
}

fn span_of(method: &'static str, id: &str) -> Span {
    if is_probe(method) {
        return Span::none();
    }
    tracing::info_span!(
        "request",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = field::Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = field::Empty,
        request.id = id,
        caller.kind = field::Empty,
        upload.id = field::Empty,
    )
}

/// One call. What is known of it when it is dropped is written.
struct Call {
    method: &'static str,
    id: String,
    begun: Instant,
    log: RequestLog,
    span: Span,
    sent: u64,
    outcome: Option<Outcome>,
}

struct Outcome {
    code: Code,
    reason: Option<String>,
}

impl Call {
    /// The status is in the headers of an answer without a message, else in the trailers.
    fn look_for_status(&mut self, headers: &HeaderMap) {
        let Some(status) = Status::from_header_map(headers) else { return };
        let reason = status.get_details_error_info().map(|info| info.reason);
        self.outcome = Some(Outcome { code: status.code(), reason });
    }

    fn measure(&self, code: &'static str, duration: Duration) {
        let method = self.method;
        if methods::is_timed(method) {
            metrics::histogram!(meters::RPC_DURATION, "method" => method).record(duration);
        }
        metrics::counter!(meters::RPC_RECEIVED_BYTES, "method" => method).increment(self.log.request_bytes());
        metrics::counter!(meters::RPC_SENT_BYTES, "method" => method).increment(self.sent);
        metrics::counter!(meters::RPC_REQUESTS, "method" => method, "code" => code).increment(1);
    }
}

impl Observer for Call {
    fn data(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        self.look_for_status(trailers);
    }

    fn end(&mut self) {
        // An answer that never says how it went.
        self.outcome.get_or_insert(Outcome { code: Code::Unknown, reason: None });
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let duration = self.begun.elapsed();
        let hung_up = Outcome { code: Code::Cancelled, reason: None };
        let Outcome { code, reason } = self.outcome.take().unwrap_or(hung_up);
        let name = code_name(code);
        let (caller, upload) = (self.log.caller_kind(), self.log.upload().map(field::display));
        self.measure(name, duration);
        if matches!(code, Code::Ok | Code::Cancelled) && is_probe(self.method) {
            return;
        }

        self.span.record("rpc.response.status_code", name).record("caller.kind", caller);
        if let Some(upload) = &upload {
            self.span.record("upload.id", upload);
        }
        if is_fault_of_the_service(code) {
            self.span.record("otel.status_code", "ERROR");
        }
        tracing::info!(
            parent: None,
            request.id = self.id,
            rpc.method = self.method,
            grpc.code = name,
            error.reason = reason,
            caller.kind = caller,
            tenant.id = self.log.tenant().map(field::display),
            upload.id = upload,
            request.bytes = self.log.request_bytes(),
            response.bytes = self.sent,
            duration_ms = duration.as_micros() as f64 / 1000.0,
            trace.id = traces::id_of(&self.span).map(field::display),
            "answered"
        );
    }
}

/// As OpenTelemetry's conventions for gRPC servers have it, but for DEADLINE_EXCEEDED: here it is a caller who is too slow.
/// Everything else is the caller's affair.
fn is_fault_of_the_service(code: Code) -> bool {
    matches!(code, Code::Unknown | Code::Unimplemented | Code::Internal | Code::Unavailable | Code::DataLoss)
}
