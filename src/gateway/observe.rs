//! What is reported of REST requests: the names of their spans, log fields and metrics. None of them contains the path
//! or the query as it was sent, because it may contain a capability.

use std::time::Duration;

use axum::{
    extract::{MatchedPath, Request},
    http::{Method, header},
    middleware::Next,
    response::Response,
};
use metrics::{counter, histogram};
use tracing::{Span, field};

use super::{PREFIXES, error::ReasonName, path::QUALIFIER};
use crate::telemetry::{
    RequestId, meters,
    observer::{self, Exchange, Report},
    traces,
};

/// The route of a request whose path is not served.
const UNKNOWN_ROUTE: &str = "unknown";

/// The status of a request whose caller hung up before the response.
const NO_STATUS: &str = "none";

/// The middleware around every REST request.
pub async fn observe(request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let route = matched.map_or(UNKNOWN_ROUTE, without_version).replace(QUALIFIER, "");
    let rest = Rest { method: method_of(request.method()), route, answer: None };
    observer::observe(request, next, rest).await
}

/// All unknown methods have one name, because a caller may send any word as a method.
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

struct Rest {
    method: &'static str,
    route: String,
    answer: Option<Answer>,
}

/// The status line and headers of a response.
struct Answer {
    status: u16,
    request_id: Option<RequestId>,
    reason: Option<ReasonName>,
    /// The length of the body, if known. It is needed because the server does not poll for the end after the last byte.
    length: Option<u64>,
}

impl Rest {
    fn measure(&self, status: &str, duration: Duration) {
        let (method, route, status) = (self.method, self.route.clone(), status.to_owned());
        counter!(meters::REST_REQUESTS, "method" => method, "route" => route.clone(), "status" => status).increment(1);
        histogram!(meters::REST_DURATION, "method" => method, "route" => route).record(duration);
    }
}

impl Report for Rest {
    fn span(&self) -> Span {
        tracing::info_span!(
            "rest request",
            otel.name = %format_args!("{} {}", self.method, self.route),
            otel.kind = "server",
            otel.status_code = field::Empty,
            http.request.method = self.method,
            http.route = self.route,
            http.response.status_code = field::Empty,
            request.id = field::Empty,
        )
    }

    fn head(&mut self, response: &mut Response) {
        let length = response.headers().get(header::CONTENT_LENGTH);
        self.answer = Some(Answer {
            status: response.status().as_u16(),
            length: length.and_then(|length| length.to_str().ok()?.parse().ok()),
            request_id: response.extensions_mut().remove(),
            reason: response.extensions_mut().remove(),
        });
    }

    fn write(&mut self, exchange: &Exchange) {
        let duration = exchange.duration();
        let Exchange { span, log, response_bytes, is_complete, .. } = exchange;
        let answer = self.answer.as_ref();
        let status = answer.map(|answer| answer.status);
        self.measure(&status.map_or(NO_STATUS.into(), |status| status.to_string()), duration);

        let is_sent = answer.is_some_and(|answer| *is_complete || answer.length == Some(*response_bytes));
        let request_id = answer.and_then(|answer| answer.request_id.as_ref()).map(RequestId::as_str);
        // Only a trace needs these, and for JSON logs each costs as much as a log line.
        if traces::are_on() {
            span.record("http.response.status_code", status).record("request.id", request_id);
            if status.is_some_and(|status| status >= 500) {
                span.record("otel.status_code", "ERROR");
            }
        }
        tracing::info!(
            parent: None,
            request.id = request_id,
            http.method = self.method,
            http.route = self.route,
            http.status = status,
            error.reason = answer.and_then(|answer| answer.reason.as_ref()).map(|ReasonName(name)| name.as_str()),
            hung_up = !is_sent,
            request.bytes = log.request_bytes(),
            response.bytes = response_bytes,
            duration_ms = duration.as_micros() as f64 / 1000.0,
            trace.id = traces::id_of(span).map(field::display),
            "answered"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_cannot_choose_a_label() {
        assert_eq!(method_of(&Method::DELETE), "DELETE");
        assert_eq!(method_of(&Method::from_bytes(b"BREW").expect("a method")), "other");
        assert_eq!(without_version("/v1.0/print/{queues}"), "/print/{queues}");
        assert_eq!(without_version("/uploadSessions/{session}"), "/uploadSessions/{session}");
    }
}
