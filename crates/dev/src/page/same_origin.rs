//! Who may load the page, and who may ask for its tokens.
//!
//! Any web site that the user visits can send requests to a loopback address. And by DNS rebinding it can make its own
//! name lead there, so that the browser takes both for the same site. The name in `Host` gives that away, and a page
//! cannot set `Host`, `Origin` or `Sec-Fetch-Site`.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The page's own origins: its address by number, and as `localhost`.
#[derive(Debug)]
pub struct Origins {
    scheme: &'static str,
    hosts: Vec<String>,
}

impl Origins {
    pub fn of(address: SocketAddr, tls: bool) -> Self {
        let (scheme, default_port) = if tls { ("https", 443) } else { ("http", 80) };
        let number = if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() };
        let names = [number, "localhost".to_owned()];
        let hosts = if address.port() == default_port {
            names.to_vec()
        } else {
            names.map(|name| format!("{name}:{}", address.port())).to_vec()
        };
        Self { scheme, hosts }
    }

    fn has(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| own == host)
    }

    /// Whether the page at `host` itself has sent a request with these headers.
    fn is_own_page(&self, host: &str, headers: &HeaderMap) -> bool {
        let own = format!("{}://{host}", self.scheme);
        // Browsers leave it out of GET requests within an origin.
        let origin_is_own = headers.get(header::ORIGIN).is_none_or(|origin| origin == own.as_str());
        origin_is_own && headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin")
    }
}

/// The middleware that refuses requests for another host.
pub async fn require_own_host(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    match host(&request) {
        Some(host) if origins.has(host) => next.run(request).await,
        _ => (StatusCode::FORBIDDEN, "Host is not this page's address").into_response(),
    }
}

/// The middleware that refuses requests of other pages, and of other programs.
pub async fn require_own_page(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    match host(&request) {
        Some(host) if origins.is_own_page(host, request.headers()) => next.run(request).await,
        _ => (StatusCode::FORBIDDEN, "only the page itself may ask for this").into_response(),
    }
}

/// The host that the client asks for: in HTTP/2 a part of the address, in HTTP/1.1 a header.
fn host(request: &Request) -> Option<&str> {
    let header = || request.headers().get(header::HOST)?.to_str().ok();
    request.uri().authority().map(Authority::as_str).or_else(header)
}
