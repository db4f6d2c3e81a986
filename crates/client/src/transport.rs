//! Transports to a service: to one replica, to several, or to the router of this process.

use std::time::Duration;

use anyhow::Context;
use tonic::{
    body::Body,
    transport::{ClientTlsConfig, Endpoint},
};
use tower::util::BoxCloneSyncService;

use super::replicas;
use crate::{KEEPALIVE, STREAM_WINDOW};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest window of a connection, in bytes (RFC 9113, 6.9.1). What is unread is bounded by the windows of its
/// calls.
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// A channel to a service, or its router in this process.
pub type Transport = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, tonic::transport::Error>;

/// A transport to the replicas of a service at `http://host:port` or `https://host:port`. A single replica is connected
/// to when the first call is made. With several, calls are spread over those that serve; their health is watched as
/// long as the transport exists. Over https, `ca` is the authority that signs the service's certificate, in PEM; by
/// default the system's authorities.
///
/// A call that stalls takes no more than its own window: it does not block the bytes of other calls.
pub fn connect(endpoints: &[impl AsRef<str>], ca: Option<&[u8]>) -> anyhow::Result<Transport> {
    let endpoints = endpoints.iter().map(|address| endpoint(address.as_ref(), ca));
    let endpoints = endpoints.collect::<anyhow::Result<Vec<_>>>()?;
    let channel = match endpoints.as_slice() {
        [only] => only.connect_lazy(),
        _ => replicas::balance(endpoints),
    };
    Ok(BoxCloneSyncService::new(channel))
}

fn endpoint(address: &str, ca: Option<&[u8]>) -> anyhow::Result<Endpoint> {
    let mut endpoint = Endpoint::from_shared(address.to_owned()).with_context(|| format!("{address} is no address"))?;
    let scheme = endpoint.uri().scheme_str();
    anyhow::ensure!(matches!(scheme, Some("http" | "https")), "{address} is neither http:// nor https://");
    if scheme == Some("https") {
        let tls = ClientTlsConfig::new();
        let tls = match ca {
            Some(ca) => tls.ca_certificate(tonic::transport::Certificate::from_pem(ca)),
            None => tls.with_native_roots(),
        };
        endpoint = endpoint.tls_config(tls)?;
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(MAX_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_while_idle(true))
}
