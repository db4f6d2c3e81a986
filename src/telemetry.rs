//! Logs: one structured line a request, with the fields that matter. Never a token, an upload URL or a body.

use std::{io::IsTerminal, time::Instant};

use axum::{extract::Request, http::HeaderValue, middleware::Next, response::Response};
use tonic::Code;
use tracing::Instrument;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

/// The id that a request gets: in its log lines, in the audit trail, and in the answer's `request-id`.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Logs to standard error, as text, or as JSON lines. `RUST_LOG` chooses what; `level` and above unless set.
pub fn init(json: bool, level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second call, in a program that embeds this one, leaves the first one's logs as they are.
    let initialised = if json { logs.json().try_init() } else { logs.try_init() };
    if initialised.is_err() {
        tracing::debug!("logs were set up before");
    }
}

/// The middleware around every request.
pub async fn log_request(mut request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let method = request.uri().path().trim_start_matches('/').to_owned();
    request.extensions_mut().insert(RequestId(id.clone()));
    let begun = Instant::now();
    let span = tracing::info_span!("request", request.id = id, rpc.method = method);

    let mut response = next.run(request).instrument(span.clone()).await;
    // A stream that fails later says so in its trailers, which come after this line.
    let code = match response.headers().get("grpc-status") {
        Some(status) => Code::from_bytes(status.as_bytes()),
        None => Code::Ok,
    };
    let duration_ms = begun.elapsed().as_secs_f64() * 1000.0;
    span.in_scope(|| tracing::info!(grpc.code = ?code, duration_ms, "answered"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("request-id", id);
    }
    response
}
