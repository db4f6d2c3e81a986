//! What is reported of RPCs: the names of their spans, log fields and metrics.

use std::time::Duration;

use axum::{extract::Request, http::HeaderMap, middleware::Next, response::Response};
use print_upload_client::{code_name, reason_name};
use tonic::{Code, Status};
use tracing::{Span, field};

use super::{
    RequestId, meters, methods,
    observer::{self, Exchange, Report},
    traces,
};

/// The middleware around every RPC.
pub async fn observe(mut request: Request, next: Next) -> Response {
    let (method, id) = (methods::named_in(request.uri().path()), RequestId::generate());
    request.extensions_mut().insert(id.clone());
    observer::observe(request, next, Rpc { method, id, outcome: None }).await
}

struct Rpc {
    method: &'static str,
    id: RequestId,
    outcome: Option<Outcome>,
}

struct Outcome {
    code: Code,
    reason: Option<String>,
}

impl Rpc {
    /// Health checks come every few seconds. They are counted, but have no span. They have a log line only if they
    /// fail, not if their caller hangs up, because that is how every `Watch` ends.
    fn is_probe(&self) -> bool {
        self.method.starts_with("grpc.health.v1.")
    }

    /// The status is in the headers of a response without a message, otherwise in the trailers.
    fn read_status(&mut self, headers: &HeaderMap) {
        let Some(status) = Status::from_header_map(headers) else { return };
        self.outcome = Some(Outcome { code: status.code(), reason: reason_name(&status) });
    }

    fn measure(&self, code: &'static str, duration: Duration, exchange: &Exchange) {
        let method = self.method;
        if methods::is_timed(method) {
            metrics::histogram!(meters::RPC_DURATION, "method" => method).record(duration);
        }
        metrics::counter!(meters::RPC_RECEIVED_BYTES, "method" => method).increment(exchange.log.request_bytes());
        metrics::counter!(meters::RPC_SENT_BYTES, "method" => method).increment(exchange.response_bytes);
        metrics::counter!(meters::RPC_REQUESTS, "method" => method, "code" => code).increment(1);
    }
}

impl Report for Rpc {
    fn span(&self) -> Span {
        if self.is_probe() {
            return Span::none();
        }
        tracing::info_span!(
            "request",
            otel.name = self.method,
            otel.kind = "server",
            otel.status_code = field::Empty,
            rpc.system.name = "grpc",
            rpc.method = self.method,
            rpc.response.status_code = field::Empty,
            request.id = self.id.as_str(),
            caller.kind = field::Empty,
            upload.id = field::Empty,
        )
    }

    fn head(&mut self, response: &mut Response) {
        self.id.put_into(response.headers_mut());
        self.read_status(response.headers());
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        self.read_status(trailers);
    }

    fn write(&mut self, exchange: &Exchange) {
        let duration = exchange.duration();
        // Without a status, either the response has ended early or the caller has hung up.
        let code = if exchange.is_complete { Code::Unknown } else { Code::Cancelled };
        let Outcome { code, reason } = self.outcome.take().unwrap_or(Outcome { code, reason: None });
        let name = code_name(code);
        self.measure(name, duration, exchange);
        if matches!(code, Code::Ok | Code::Cancelled) && self.is_probe() {
            return;
        }

        let Exchange { span, log, response_bytes, .. } = exchange;
        let (caller, upload) = (log.caller_kind(), log.upload().map(field::display));
        // Only a trace needs these, and for JSON logs each costs as much as a log line.
        if traces::are_on() {
            span.record("rpc.response.status_code", name).record("caller.kind", caller);
            if let Some(upload) = &upload {
                span.record("upload.id", upload);
            }
            if is_fault_of_the_service(code) {
                span.record("otel.status_code", "ERROR");
            }
        }
        tracing::info!(
            parent: None,
            request.id = self.id.as_str(),
            rpc.method = self.method,
            grpc.code = name,
            error.reason = reason,
            caller.kind = caller,
            tenant.id = log.tenant().map(field::display),
            upload.id = upload,
            request.bytes = log.request_bytes(),
            response.bytes = response_bytes,
            duration_ms = duration.as_micros() as f64 / 1000.0,
            trace.id = traces::id_of(span).map(field::display),
            "answered"
        );
    }
}

/// Follows OpenTelemetry's conventions for gRPC servers, except for DEADLINE_EXCEEDED: here it means a caller that is
/// too slow.
fn is_fault_of_the_service(code: Code) -> bool {
    matches!(code, Code::Unknown | Code::Unimplemented | Code::Internal | Code::Unavailable | Code::DataLoss)
}
