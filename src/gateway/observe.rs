//! The layer around every REST request: its span, its log line and its metrics. All three are written when the whole answer
//! has gone, or when the caller has hung up. The path's own text and its query are in none of them: one of them may hold a
//! capability.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::{Method, header},
    middleware::Next,
    response::Response,
};
use metrics::{counter, histogram};
use tracing::{Instrument, Span, field};

use super::{PREFIXES, error::Reason, request_id::RequestId};
use crate::telemetry::{Observed, Observer, RequestLog, meters, traces};

/// Where no route leads to.
const UNKNOWN_ROUTE: &str = "unknown";

/// The status of a request whose caller hung up before there was one.
const NO_STATUS: &str = "none";

/// The middleware around every request.
pub async fn observe(request: Request, next: Next) -> Response {
    let method = method_of(request.method());
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let route = matched.map_or(UNKNOWN_ROUTE, without_version).to_owned();
    let span = tracing::info_span!(
        "rest request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        request.id = field::Empty,
    );
    traces::continue_from(request.headers(), &span);
    let received = RequestLog::default();
    let request = request.map(|body| Observed::body(body, received.clone()));
    let begun = Instant::now();
    let mut exchange = Exchange { method, route, begun, received, span: span.clone(), sent: 0, answer: None };

    let mut response = next.run(request).instrument(span).await;
    exchange.answer = Some(Answer {
        status: response.status().as_u16(),
        request_id: RequestId::put_into_unless_there(response.headers_mut()),
        reason: response.extensions_mut().remove(),
        length: response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()),
        is_complete: false,
    });
    response.map(|body| Observed::body(body, exchange))
}

/// Any other method is named alike: whoever asks may call it whatever they like.
fn method_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn without_version(route: &str) -> &str {
    let versions = PREFIXES.iter().filter(|prefix| !prefix.is_empty());
    versions.filter_map(|version| route.strip_prefix(version)).next().unwrap_or(route)
}

/// A request and its answer. What is known of them when they are dropped is written.
struct Exchange {
    method: &'static str,
    route: String,
    begun: Instant,
    received: RequestLog,
    span: Span,
    sent: u64,
    answer: Option<Answer>,
}

struct Answer {
    status: u16,
    request_id: RequestId,
    reason: Option<Reason>,
    /// How long its body is, where that is known: who has all of it does not ask for the end.
    length: Option<u64>,
    is_complete: bool,
}

impl Exchange {
    fn measure(&self, status: &str, duration: Duration) {
        let (method, route, status) = (self.method, self.route.clone(), status.to_owned());
        counter!(meters::REST_REQUESTS, "method" => method, "route" => route.clone(), "status" => status).increment(1);
        histogram!(meters::REST_DURATION, "method" => method, "route" => route).record(duration);
    }
}

impl Observer for Exchange {
    fn data(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    fn end(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.is_complete = true;
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let duration = self.begun.elapsed();
        let status = self.answer.as_ref().map(|answer| answer.status);
        self.measure(&status.map_or(NO_STATUS.into(), |status| status.to_string()), duration);

        let answer = self.answer.as_ref();
        let is_complete = answer.is_some_and(|answer| answer.is_complete || answer.length == Some(self.sent));
        let request_id = answer.map(|answer| answer.request_id.as_str());
        self.span.record("http.response.status_code", status).record("request.id", request_id);
        if status.is_some_and(|status| status >= 500) {
            self.span.record("otel.status_code", "ERROR");
        }
        tracing::info!(
            parent: None,
            request.id = request_id,
            http.method = self.method,
            http.route = self.route,
            http.status = status,
            error.reason = answer.and_then(|answer| answer.reason.as_ref()).map(|Reason(reason)| reason.as_str()),
            hung_up = !is_complete,
            request.bytes = self.received.request_bytes(),
            response.bytes = self.sent,
            duration_ms = duration.as_micros() as f64 / 1000.0,
            trace.id = traces::id_of(&self.span).map(field::display),
            "answered"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_chooses_no_label() {
        assert_eq!(method_of(&Method::DELETE), "DELETE");
        assert_eq!(method_of(&Method::from_bytes(b"BREW").expect("a method")), "other");
        assert_eq!(without_version("/v1.0/print/{queues}"), "/print/{queues}");
        assert_eq!(without_version("/uploadSessions/{session}"), "/uploadSessions/{session}");
    }
}
