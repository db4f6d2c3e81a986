//! Cross-origin requests (CORS, the Fetch standard): which pages in browsers may call the gateway, and what their
//! scripts may read. No cookie is a credential here, so none is allowed.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{repeatable, upload_limit::UPLOAD_LIMIT};

/// How long a browser may keep the answer to a preflight.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(10 * 60);

/// The layer for pages of these origins. `None` if there are none.
pub fn layer(origins: &[HeaderValue]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
        // SDKs send headers of their own, and more with every version.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            HeaderName::from_static("request-id"),
            HeaderName::from_static("client-request-id"),
            repeatable::RESULT,
            UPLOAD_LIMIT,
            header::RETRY_AFTER,
            header::LOCATION,
            header::ETAG,
            header::ACCEPT_ENCODING,
            header::ACCEPT_RANGES,
            header::ALLOW,
            header::CONTENT_DISPOSITION,
            header::CONTENT_LENGTH,
            header::CONTENT_RANGE,
            header::WWW_AUTHENTICATE,
        ])
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}
