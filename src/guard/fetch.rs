//! Fetches the documents of issuers over HTTP.

use std::{env, error::Error as _, net::IpAddr, time::Duration};

use reqwest::{Certificate, Client, redirect::Policy};
use serde::de::DeserializeOwned;
use url::Url;

/// How long one fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest metadata document or key set, in bytes.
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// HTTP clients that follow no redirect. All issuers share them.
#[derive(Debug)]
pub(super) struct Fetcher {
    /// Uses the proxy of the environment, if there is one.
    client: Client,
    /// For loopback addresses: a proxy would look for them on its own machine.
    direct: Client,
}

impl Fetcher {
    /// A server's certificate may be signed by the system's authorities or by those in `ca` (PEM).
    pub(super) fn new(ca: Option<&[u8]>) -> Result<Self, String> {
        let authorities = Certificate::from_pem_bundle(ca.unwrap_or_default()).map_err(|error| error.to_string())?;
        if ca.is_some() && authorities.is_empty() {
            return Err("the file of --issuer-ca holds no certificate".into());
        }
        let builder = || {
            let client = Client::builder().timeout(FETCH_TIMEOUT).redirect(Policy::none());
            client.tls_certs_merge(authorities.clone())
        };
        let client = builder().build().map_err(|error| error.to_string())?;
        let direct = builder().no_proxy().build().map_err(|error| error.to_string())?;
        Ok(Self { client, direct })
    }

    /// The JSON document at a URL.
    pub(super) async fn json<T: DeserializeOwned>(&self, url: Url) -> Result<T, String> {
        let is_direct = is_loopback(&url);
        let hint = if is_direct { String::new() } else { proxy_hint(&url) };
        let failed = |error: reqwest::Error| format!("{}{hint}", with_causes(&error));
        let client = if is_direct { &self.direct } else { &self.client };
        let mut response = client.get(url).send().await.map_err(failed)?.error_for_status().map_err(failed)?;
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            document.extend_from_slice(&chunk);
            if document.len() > MAX_DOCUMENT_BYTES {
                return Err("its response is too large".into());
            }
        }
        serde_json::from_slice(&document).map_err(|error| error.to_string())
    }
}

/// Whether a response from the URL is protected on the network against reading and changing.
pub(super) fn is_confidential(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// An error with its causes. reqwest's own text has only the first line.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Names the variable of the proxy that a request may have gone through. Its value may have a password.
fn proxy_hint(url: &Url) -> String {
    let by_scheme = if url.scheme() == "https" { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let variables = by_scheme.into_iter().chain(["ALL_PROXY", "all_proxy"]);
    let set = variables.into_iter().find(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    set.map_or_else(String::new, |name| format!(" (through the proxy of {name}, unless NO_PROXY excepts the host)"))
}
