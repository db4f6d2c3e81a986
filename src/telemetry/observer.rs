//! The observer of requests, over gRPC and over REST. A request's span, log line and metrics are written when the last
//! byte of its response has been sent, trailers included, or when its caller has hung up.

use std::time::{Duration, Instant};

use axum::{extract::Request, http::HeaderMap, middleware::Next, response::Response};
use tracing::{Instrument, Span};

use super::{
    RequestLog,
    body::{BodyObserver, ObservedBody},
    traces,
};

/// What is reported of a request: one implementation for gRPC, one for REST.
pub trait Report: Send + Unpin + 'static {
    /// A new span for the request.
    fn span(&self) -> Span;

    /// The head of the response is known.
    fn head(&mut self, response: &mut Response);

    /// The trailers of the response have been sent.
    fn trailers(&mut self, _: &HeaderMap) {}

    /// The request has ended: writes its span, its log line and its metrics.
    fn write(&mut self, exchange: &Exchange);
}

/// A request and its response, for the report.
pub struct Exchange {
    pub span: Span,
    pub log: RequestLog,
    /// How many bytes of the response's body have been sent.
    pub response_bytes: u64,
    /// Whether the server has polled the response's body to its end.
    pub is_complete: bool,
    started: Instant,
}

impl Exchange {
    pub fn duration(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Runs the inner layers, and reports the request when it has ended.
pub async fn observe(mut request: Request, next: Next, report: impl Report) -> Response {
    let (span, log) = (report.span(), RequestLog::default());
    traces::continue_from(request.headers(), &span);
    request.extensions_mut().insert(log.clone());
    let request = request.map(|body| ObservedBody::wrap(body, log.clone()));
    let exchange = Exchange { span: span.clone(), log, response_bytes: 0, is_complete: false, started: Instant::now() };
    let mut recorder = Recorder { report, exchange };

    let mut response = next.run(request).instrument(span).await;
    recorder.report.head(&mut response);
    response.map(|body| ObservedBody::wrap(body, recorder))
}

/// Belongs to the request at first, then to the body of its response. It is dropped with the last byte, or earlier when
/// the caller hangs up. In both cases the request has ended.
struct Recorder<R: Report> {
    report: R,
    exchange: Exchange,
}

impl<R: Report> BodyObserver for Recorder<R> {
    fn data(&mut self, bytes: usize) {
        self.exchange.response_bytes += bytes as u64;
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        self.report.trailers(trailers);
    }

    fn end(&mut self) {
        self.exchange.is_complete = true;
    }
}

impl<R: Report> Drop for Recorder<R> {
    fn drop(&mut self) {
        self.report.write(&self.exchange);
    }
}
