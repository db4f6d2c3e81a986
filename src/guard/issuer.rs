//! The trusted issuers of access tokens and their keys: OpenID Connect discovery and a JSON Web Key Set over HTTP,
//! cached, refreshed in the background, and fetched once more when a token names an unknown key.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::RwLock;
use reqwest::{Certificate, Client, redirect::Policy};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{key::Key, template::substitute};
use crate::error::Error;

/// The tenant whose metadata describe a template issuer, as at the Microsoft identity platform.
const COMMON_TENANT: &str = "common";

/// Keys that could not be confirmed for this long are no longer used.
const MAX_KEY_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How soon a failed refresh is retried.
const REFRESH_RETRY: Duration = Duration::from_secs(10);

/// How long one fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest metadata document or key set, in bytes.
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// The issuers whose access tokens are accepted, and the audiences that the tokens may have.
#[derive(Debug)]
pub struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    /// The accepted values of a token's `aud`.
    pub(super) audiences: Vec<String>,
    refresh: Duration,
}

/// One issuer. If its address holds `{tenantid}`, it issues the tokens of many tenants.
#[derive(Debug)]
pub struct Issuer {
    address: String,
    client: Client,
    refetch: Duration,
    /// Never locked across an await.
    keys: RwLock<Option<KeySet>>,
    /// When the last fetch for an unknown key ended, and whether it succeeded. Locked during a fetch: one at a time.
    last_fetch: Mutex<Option<(Instant, bool)>>,
}

#[derive(Debug, Clone)]
struct KeySet {
    keys: Arc<HashMap<String, Key>>,
    fetched: Instant,
}

/// Why an issuer cannot be used, or its keys not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("issuer {address}: {problem}")]
pub struct IssuerError {
    address: String,
    problem: String,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct PublishedKeys {
    keys: Vec<serde_json::Value>,
}

impl Issuers {
    /// Trusts the issuers at `addresses`, for tokens whose `aud` is one of `audiences`. An issuer's certificate may be
    /// signed by the system's authorities or by those in `ca` (PEM). Keys are fetched every `refresh`, and for an
    /// unknown key at most every `refetch`.
    pub fn new(
        addresses: &[String],
        ca: Option<&[u8]>,
        audiences: Vec<String>,
        refresh: Duration,
        refetch: Duration,
    ) -> Result<Self, IssuerError> {
        let issuers = addresses.iter().map(|address| Issuer::new(address, ca, refetch).map(Arc::new));
        Ok(Self { issuers: issuers.collect::<Result<_, _>>()?, audiences, refresh })
    }

    /// The issuer whose address, with `tid` for `{tenantid}`, is exactly `iss`.
    pub fn of(&self, iss: &str, tid: &str) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| substitute(&issuer.address, tid) == iss).map(Arc::as_ref)
    }

    /// For each issuer, by its configured address: how long ago its keys were confirmed. `None` without usable keys.
    pub fn ages_of_keys(&self) -> impl Iterator<Item = (&str, Option<Duration>)> {
        self.issuers.iter().map(|issuer| (issuer.address.as_str(), issuer.age_of_keys()))
    }

    /// Keeps every issuer's keys fresh until `shutdown`.
    pub async fn refresh_until(&self, shutdown: CancellationToken) {
        let refreshes = self.issuers.iter().map(|issuer| issuer.refresh_forever(self.refresh));
        shutdown.run_until_cancelled(futures_util::future::join_all(refreshes)).await;
    }
}

impl Issuer {
    fn new(address: &str, ca: Option<&[u8]>, refetch: Duration) -> Result<Self, IssuerError> {
        let fail = |problem: String| IssuerError { address: address.into(), problem };
        let url = Url::parse(&substitute(address, COMMON_TENANT)).map_err(|error| fail(error.to_string()))?;
        if !is_confidential(&url) {
            return Err(fail("must be https, or http on a loopback address".into()));
        }
        let authorities =
            Certificate::from_pem_bundle(ca.unwrap_or_default()).map_err(|error| fail(error.to_string()))?;
        if ca.is_some() && authorities.is_empty() {
            return Err(fail("the file of --issuer-ca holds no certificate".into()));
        }
        let client = Client::builder().timeout(FETCH_TIMEOUT).redirect(Policy::none());
        let client = client.tls_certs_merge(authorities).build();
        Ok(Self {
            address: address.into(),
            client: client.map_err(|error| fail(error.to_string()))?,
            refetch,
            keys: RwLock::default(),
            last_fetch: Mutex::default(),
        })
    }

    /// The key with this id. If it is unknown, the issuer's keys are fetched again, at most every `refetch`.
    pub async fn key(&self, kid: &str) -> Result<Option<Key>, Error> {
        if let Some(key) = self.fresh_keys().and_then(|keys| keys.get(kid).cloned()) {
            return Ok(Some(key));
        }
        let mut last_fetch = self.last_fetch.lock().await;
        let recent = last_fetch.filter(|(ended, _)| ended.elapsed() < self.refetch);
        let has_succeeded = match recent {
            Some((_, has_succeeded)) => has_succeeded,
            None => self.fetch(&mut last_fetch).await,
        };
        match self.fresh_keys().map(|keys| keys.get(kid).cloned()) {
            Some(Some(key)) => Ok(Some(key)),
            Some(None) if has_succeeded => Ok(None),
            // While the keys cannot be fetched, it is unknown whether the issuer has this key.
            Some(None) | None => Err(Error::KeysUnavailable),
        }
    }

    async fn refresh_forever(&self, refresh: Duration) {
        loop {
            let has_succeeded = {
                let _one_at_a_time = self.last_fetch.lock().await;
                // Not recorded: otherwise a key that is published right after this fetch would be unknown for
                // `refetch`.
                self.fetch(&mut None).await
            };
            tokio::time::sleep(if has_succeeded { refresh } else { REFRESH_RETRY.min(refresh) }).await;
        }
    }

    fn fresh_keys(&self) -> Option<Arc<HashMap<String, Key>>> {
        let keys = self.keys.read();
        keys.as_ref().filter(|keys| keys.fetched.elapsed() < MAX_KEY_AGE).map(|keys| Arc::clone(&keys.keys))
    }

    fn age_of_keys(&self) -> Option<Duration> {
        let keys = self.keys.read();
        keys.as_ref().map(|keys| keys.fetched.elapsed()).filter(|age| *age < MAX_KEY_AGE)
    }

    /// Fetches the keys. Returns whether that succeeded; if not, the old ones stay.
    async fn fetch(&self, last_fetch: &mut Option<(Instant, bool)>) -> bool {
        let begun = Instant::now();
        let fetched = self.fetch_keys().await;
        // Its end is recorded: a call that waited for a slow fetch does not begin another one.
        *last_fetch = Some((Instant::now(), fetched.is_ok()));
        match fetched {
            Ok(keys) => {
                let keys = KeySet { keys: Arc::new(keys), fetched: begun };
                *self.keys.write() = Some(keys);
                true
            }
            Err(error) => {
                tracing::warn!(issuer = self.address, error = %error, "cannot fetch the issuer's keys");
                false
            }
        }
    }

    async fn fetch_keys(&self) -> Result<HashMap<String, Key>, IssuerError> {
        let base = substitute(&self.address, COMMON_TENANT);
        let metadata_url = format!("{}/.well-known/openid-configuration", base.trim_end_matches('/'));
        let metadata: Metadata = self.fetch_json(&metadata_url).await?;
        if metadata.issuer != self.address {
            return Err(self.fail(format!("its metadata name another issuer, {}", metadata.issuer)));
        }
        let published: PublishedKeys = self.fetch_json(&metadata.jwks_uri).await?;
        // Unusable keys are skipped: a set may also hold keys of other kinds.
        let keys: HashMap<String, Key> = published.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(self.fail("it publishes no key that can sign access tokens".into()));
        }
        Ok(keys)
    }

    async fn fetch_json<T: DeserializeOwned>(&self, url: &str) -> Result<T, IssuerError> {
        let url = Url::parse(url).map_err(|error| self.fail(error.to_string()))?;
        // An issuer that is trusted over https must not name a URL without it.
        if !is_confidential(&url) || (self.address.starts_with("https:") && url.scheme() != "https") {
            return Err(self.fail(format!("{url} must be https, or http on a loopback address")));
        }
        let failed = |error: reqwest::Error| self.fail(error.to_string());
        let mut response = self.client.get(url).send().await.map_err(failed)?.error_for_status().map_err(failed)?;
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            document.extend_from_slice(&chunk);
            if document.len() > MAX_DOCUMENT_BYTES {
                return Err(self.fail("its response is too large".into()));
            }
        }
        serde_json::from_slice(&document).map_err(|error| self.fail(error.to_string()))
    }

    fn fail(&self, problem: String) -> IssuerError {
        IssuerError { address: self.address.clone(), problem }
    }
}

/// Whether a response from the URL is protected on the network against reading and changing.
fn is_confidential(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let is_loopback =
        host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        let trusted = |address: &str| Issuer::new(address, None, Duration::ZERO).is_ok();
        assert!(trusted("https://login.example/{tenantid}/v2.0"));
        assert!(trusted("http://127.0.0.1:1/{tenantid}/v2.0"));
        assert!(trusted("http://[::1]:1"));
        assert!(!trusted("http://login.example/{tenantid}/v2.0"));
        assert!(!trusted("http://127.0.0.1.example/"));
        assert!(!trusted("http://10.0.0.1/"));
        assert!(!trusted("file:///etc/passwd"));
    }
}
