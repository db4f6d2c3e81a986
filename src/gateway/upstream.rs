//! The transport to the service, with a span for every call. The service's own span becomes its child, wherever the
//! service runs.

use std::convert::Infallible;

use axum::{Router, http};
use print_upload_client::Transport;
use tonic::body::Body;
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};
use tracing::Instrument;

use crate::telemetry::traces;

/// Adds a span to every call, if traces are collected; otherwise returns the transport unchanged.
pub fn traced(upstream: Transport) -> Transport {
    if !traces::are_on() {
        return upstream;
    }
    BoxCloneSyncService::new(service_fn(move |mut request: http::Request<Body>| {
        let method = request.uri().path().trim_start_matches('/').to_owned();
        let span = tracing::info_span!(
            "call",
            otel.name = method,
            otel.kind = "client",
            rpc.system.name = "grpc",
            rpc.method = method
        );
        traces::continue_in(request.headers_mut(), &span);
        upstream.clone().oneshot(request).instrument(span)
    }))
}

/// A transport into the router of a service in the same process, without a socket.
pub fn in_process(router: Router) -> Transport {
    let answer = |response: http::Response<axum::body::Body>| response.map(Body::new);
    let service = ServiceExt::<http::Request<Body>>::map_response(router, answer);
    BoxCloneSyncService::new(ServiceExt::<http::Request<Body>>::map_err(service, |never: Infallible| match never {}))
}
