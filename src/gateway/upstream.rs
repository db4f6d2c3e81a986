//! The service that the gateway calls: its transport, with a span for every call, and how a range gets there. The
//! service's own span becomes the child of the gateway's, wherever the service runs.

use std::convert::Infallible;

use axum::{Router, body::Body, http};
use futures_util::{Stream, StreamExt, future::Either, stream};
use print_upload_client::Transport;
use tonic::Request;
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};
use tracing::Instrument;

use super::body;
use crate::{
    proto::{RangeHeader, UploadRangeRequest, upload_range_request::Content},
    range_bytes::RangeBytes,
    telemetry::traces,
};

/// The service that the gateway calls.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub(super) transport: Transport,
    is_in_process: bool,
}

impl Upstream {
    /// A service elsewhere, or at least behind a socket.
    pub fn remote(transport: Transport) -> Self {
        Self { transport, is_in_process: false }
    }

    /// The router of a service in the same process, without a socket.
    pub fn in_process(router: Router) -> Self {
        let answer = |response: http::Response<Body>| response.map(tonic::body::Body::new);
        let service = ServiceExt::<http::Request<tonic::body::Body>>::map_response(router, answer);
        let never = |never: Infallible| match never {};
        let service = ServiceExt::<http::Request<tonic::body::Body>>::map_err(service, never);
        Self { transport: BoxCloneSyncService::new(service), is_in_process: true }
    }

    /// Adds a span to every call, if traces are collected.
    pub(super) fn traced(self) -> Self {
        if !traces::are_on() {
            return self;
        }
        let Self { transport, is_in_process } = self;
        let transport = BoxCloneSyncService::new(service_fn(move |mut request: http::Request<tonic::body::Body>| {
            let method = request.uri().path().trim_start_matches('/').to_owned();
            let span = tracing::info_span!(
                "call",
                otel.name = method,
                otel.kind = "client",
                rpc.system.name = "grpc",
                rpc.method = method
            );
            traces::continue_in(request.headers_mut(), &span);
            transport.clone().oneshot(request).instrument(span)
        }));
        Self { transport, is_in_process }
    }

    /// The call that sends a range. In the same process the body itself goes along with the call. Otherwise it is cut
    /// into messages.
    pub(super) fn range_call(
        &self,
        header: RangeHeader,
        body: Body,
    ) -> Request<impl Stream<Item = UploadRangeRequest> + Send + 'static> {
        let message = |content| UploadRangeRequest { content: Some(content) };
        let header = stream::iter([message(Content::Header(header))]);
        if self.is_in_process {
            let mut call = Request::new(Either::Left(header));
            call.extensions_mut().insert(RangeBytes::new(body));
            return call;
        }
        let chunks = body::chunks(body).map(move |chunk| message(Content::Chunk(chunk)));
        Request::new(Either::Right(header.chain(chunks)))
    }
}

#[cfg(test)]
mod tests {
    use print_upload_client::connect;

    use super::*;

    /// How many messages the call of a range has, and whether the body goes along with it.
    async fn call_of(upstream: Upstream) -> (usize, bool) {
        let body = Body::from_stream(stream::iter([Ok::<_, Infallible>("a"), Ok("b")]));
        let call = upstream.range_call(RangeHeader::default(), body);
        let is_handed_over = call.extensions().get::<RangeBytes>().is_some();
        (call.into_inner().count().await, is_handed_over)
    }

    #[tokio::test]
    async fn only_a_service_in_the_same_process_gets_the_body_itself() {
        assert_eq!(call_of(Upstream::in_process(Router::new())).await, (1, true));
        let elsewhere = connect(&["http://localhost:1"], None).expect("an address");
        assert_eq!(call_of(Upstream::remote(elsewhere)).await, (3, false));
    }
}
