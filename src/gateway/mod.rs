//! The REST gateway: the paths of Microsoft Graph's Universal Print, translated to the gRPC service and back.
//!
//! The gateway has no rules. It translates a request into calls of the generated client (`call`, `path`, `credential`,
//! `body`, `content_range`). The service decides, and its response becomes JSON (`json`). The table in `status` has
//! every HTTP status. The service may run in this process or elsewhere.
//!
//! A client can reach an upload session by two kinds of path. The Graph paths (`jobs`, `documents`, `upload_session`)
//! need an access token. The upload URL (`upload_url`) is itself a capability, and takes no other credential.

mod answer;
mod body;
mod call;
mod content_range;
mod cors;
mod credential;
mod documents;
mod download;
mod error;
mod jobs;
mod json;
mod observe;
mod odata;
mod openapi;
mod path;
mod repeatable;
mod status;
mod unread;
mod upload_limit;
mod upload_session;
mod upload_url;
mod upstream;

use axum::{
    Router,
    extract::Request,
    http::HeaderValue,
    middleware,
    routing::{MethodRouter, get, post, put},
};
use print_upload_client::{Client, Credential};
use tokio_util::sync::CancellationToken;
use tower::{ServiceBuilder, ServiceExt, util::option_layer};

pub use openapi::DOCUMENT as OPENAPI;
pub use upstream::Upstream;

use crate::telemetry::meters;
use error::Error;

/// The prefixes of the Graph paths: none, and Graph's versions.
const PREFIXES: [&str; 3] = ["", "/v1.0", "/beta"];

/// The state that all handlers share.
#[derive(Debug, Clone)]
struct Gateway {
    upstream: Upstream,
}

impl Gateway {
    /// A client of the service with a caller's credential.
    fn client(&self, credential: Credential) -> Client {
        Client::over(self.upstream.transport.clone(), credential)
    }
}

/// Everything the gateway serves, in front of `upstream`. Once `stopping` is canceled, the
/// gateway reads a body that no handler reads for at most a few seconds. Pages of `cors_origins` may call it.
pub fn router(upstream: Upstream, stopping: CancellationToken, cors_origins: &[HeaderValue]) -> Router {
    meters::init_rest();
    let graph = PREFIXES
        .into_iter()
        .flat_map(|prefix| graph_routes().into_iter().map(move |(path, methods)| (format!("{prefix}{path}"), methods)));
    let others = other_routes().into_iter().map(|(path, methods)| (path.to_owned(), methods));
    let router = graph.chain(others).fold(Router::new(), |router, (path, methods)| {
        let router = match path::qualified_action(&path) {
            Some(qualified) => router.route(&qualified, methods.clone()),
            None => router,
        };
        router.route(&path, methods)
    });
    // The first layer is the outermost.
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn(observe::observe))
        .layer(middleware::from_fn_with_state(stopping, unread::read_to_the_end))
        .layer(middleware::from_fn(answer::finish))
        .layer(option_layer(cors::layer(cors_origins)));
    let router = router
        .fallback(async || Error::no_such_path())
        .method_not_allowed_fallback(async || Error::method_not_allowed())
        .layer(layers)
        .with_state(Gateway { upstream: upstream.traced() });
    // Around the routes, which compare the path as it was sent.
    Router::new().fallback_service(ServiceExt::<Request>::map_request(router, path::decode_names))
}

/// Every path that is served, without a prefix, in the syntax that OpenAPI and axum share.
pub fn paths() -> impl Iterator<Item = &'static str> {
    graph_routes().into_iter().chain(other_routes()).map(|(path, _)| path)
}

/// The Graph paths, below each of `PREFIXES`. `{queues}` is `printers` or `shares`.
fn graph_routes() -> Vec<(&'static str, MethodRouter<Gateway>)> {
    vec![
        (
            "/print/{queues}/{queue}/jobs",
            post(jobs::create).route_layer(middleware::from_fn(repeatable::report_result)),
        ),
        ("/print/{queues}/{queue}/jobs/{job}", get(jobs::get)),
        ("/print/{queues}/{queue}/jobs/{job}/start", post(jobs::start)),
        ("/print/{queues}/{queue}/jobs/{job}/cancel", post(jobs::cancel)),
        ("/print/{queues}/{queue}/jobs/{job}/documents", get(documents::list)),
        ("/print/{queues}/{queue}/jobs/{job}/documents/{document}", get(documents::get)),
        ("/print/{queues}/{queue}/jobs/{job}/documents/{document}/$value", get(download::get)),
        ("/print/{queues}/{queue}/jobs/{job}/documents/{document}/createUploadSession", post(upload_session::create)),
        (
            "/print/{queues}/{queue}/jobs/{job}/documents/{document}/uploadSession",
            get(upload_session::get).delete(upload_session::delete),
        ),
        (
            "/print/{queues}/{queue}/jobs/{job}/documents/{document}/uploadSession/renewUploadUrl",
            post(upload_session::renew),
        ),
    ]
}

fn other_routes() -> Vec<(&'static str, MethodRouter<Gateway>)> {
    vec![
        ("/uploadSessions/{session}", put(upload_url::put).get(upload_url::get).delete(upload_url::delete)),
        ("/openapi.json", get(openapi::get)),
    ]
}
