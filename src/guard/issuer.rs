//! The trusted issuers of access tokens and their keys: OpenID Connect discovery and a JSON Web Key Set over HTTP,
//! cached, refreshed in the background, and fetched once more when a token names an unknown key.

use std::{collections::HashMap, sync::Arc, time::Duration};

use metrics::counter;
use parking_lot::RwLock;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    fetch::{Fetcher, is_confidential},
    key::Key,
    remembered_tokens::RememberedTokens,
    template::substitute,
    trusted_issuer::TrustedIssuer,
};
use crate::{
    error::Error,
    issuer_options::{IssuerOptions, Location},
    name::TenantId,
    telemetry::meters,
};

/// The tenant whose metadata describe a template issuer, as at the Microsoft identity platform.
const COMMON_TENANT: &str = "common";

/// Keys that could not be confirmed for this long are no longer used.
const MAX_KEY_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How many calls may wait for one issuer's keys at once. None of them has proved anything yet, and each of them keeps
/// its headers and a window of its body.
const MAX_WAITING_CALLS: usize = 128;

/// How soon a failed refresh is retried.
const REFRESH_RETRY: Duration = Duration::from_secs(10);

/// The issuers whose access tokens are accepted, and the audiences that the tokens may have.
#[derive(Debug)]
pub struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    /// The accepted values of a token's `aud`.
    pub(super) audiences: Vec<String>,
    pub(super) remembered: RememberedTokens,
    refresh: Duration,
}

/// One issuer. If its address holds `{tenantid}`, it issues the tokens of many tenants.
#[derive(Debug)]
pub struct Issuer {
    trusted: TrustedIssuer,
    source: KeySource,
    fetcher: Arc<Fetcher>,
    refetch: Duration,
    /// Never locked across an await.
    keys: RwLock<Option<KeySet>>,
    /// When the last fetch for an unknown key ended, and whether it succeeded. Locked during a fetch: one at a time.
    last_fetch: Arc<Mutex<Option<(Instant, bool)>>>,
    /// One permit for each call that waits for a fetch.
    waiting: Semaphore,
}

/// Where an issuer's keys are found.
#[derive(Debug)]
enum KeySource {
    /// In the metadata at this URL.
    Metadata(String),
    /// At this URL.
    Keys(String),
}

/// The keys of an issuer, by their ids, as they were fetched once.
pub(super) type Keys = Arc<HashMap<String, Key>>;

#[derive(Debug, Clone)]
struct KeySet {
    keys: Keys,
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
    /// Trusts the issuers of the options, for tokens whose `aud` is one of the audiences. Keys are fetched every
    /// `keys_refresh`, and for an unknown key at most every `keys_refetch`.
    pub fn new(options: &IssuerOptions, ca: Option<&[u8]>) -> Result<Self, IssuerError> {
        let trusted = TrustedIssuer::read_all(&options.issuers)?;
        for Location { issuer, .. } in options.issuer_metadata.iter().chain(&options.issuer_keys) {
            if trusted.iter().all(|trusted| trusted.address != *issuer) {
                let problem = "an address of its metadata or keys is given, but no such --issuer";
                return Err(IssuerError::new(issuer, problem));
            }
        }
        let first = trusted.first().map(|trusted| trusted.address.clone()).unwrap_or_default();
        let fetcher = Arc::new(Fetcher::new(ca).map_err(|problem| IssuerError::new(&first, problem))?);
        let issuers = trusted.into_iter().map(|trusted| {
            let given = |locations: &[Location]| {
                let location = locations.iter().find(|location| location.issuer == trusted.address);
                location.map(|location| location.url.clone())
            };
            let source = match (given(&options.issuer_keys), given(&options.issuer_metadata)) {
                (Some(url), _) => KeySource::Keys(url),
                (None, Some(url)) => KeySource::Metadata(url),
                (None, None) => KeySource::Metadata(metadata_of(&trusted.address)),
            };
            Issuer::new(trusted, source, Arc::clone(&fetcher), options.keys_refetch).map(Arc::new)
        });
        let issuers = issuers.collect::<Result<_, _>>()?;
        let (audiences, remembered) = (options.audiences.clone(), RememberedTokens::new());
        Ok(Self { issuers, audiences, remembered, refresh: options.keys_refresh })
    }

    /// The issuer whose address, with `tid` for `{tenantid}`, is exactly `iss`, and which may issue tokens for the
    /// tenant. `tid` is the tenant as the token spells it.
    pub fn of(&self, iss: &str, tid: &str, tenant: TenantId) -> Option<&Arc<Issuer>> {
        let mut issuers = self.issuers.iter();
        issuers.find(|issuer| substitute(&issuer.trusted.address, tid) == iss && issuer.trusted.may_issue_for(tenant))
    }

    /// For each issuer, by its configured address: how long ago its keys were confirmed. `None` without usable keys.
    pub fn ages_of_keys(&self) -> impl Iterator<Item = (&str, Option<Duration>)> {
        self.issuers.iter().map(|issuer| (issuer.trusted.address.as_str(), issuer.age_of_keys()))
    }

    /// Keeps every issuer's keys fresh until `shutdown`.
    pub async fn refresh_until(&self, shutdown: CancellationToken) {
        let refreshes = self.issuers.iter().map(|issuer| issuer.refresh_forever(self.refresh));
        shutdown.run_until_cancelled(futures_util::future::join_all(refreshes)).await;
    }
}

impl Issuer {
    fn new(
        trusted: TrustedIssuer,
        source: KeySource,
        fetcher: Arc<Fetcher>,
        refetch: Duration,
    ) -> Result<Self, IssuerError> {
        let fail = |problem: String| IssuerError::new(&trusted.address, problem);
        let (KeySource::Metadata(location) | KeySource::Keys(location)) = &source;
        for text in [&trusted.address, location] {
            let url = Url::parse(&substitute(text, COMMON_TENANT)).map_err(|error| fail(format!("{text}: {error}")))?;
            if !is_confidential(&url) {
                return Err(fail(format!("{text} must be https, or http on a loopback address")));
            }
        }
        let (keys, last_fetch, waiting) = (RwLock::default(), Arc::default(), Semaphore::new(MAX_WAITING_CALLS));
        Ok(Self { trusted, source, fetcher, refetch, keys, last_fetch, waiting })
    }

    /// The tenants that it is bound to. `None`: it may speak for every tenant.
    pub fn tenants(&self) -> Option<Arc<[TenantId]>> {
        self.trusted.tenants.clone()
    }

    /// The key set that has a key with this id. If the key is unknown, the issuer's keys are fetched again, at most
    /// every `refetch`.
    pub async fn keys_with(self: &Arc<Self>, kid: &str) -> Result<Option<Keys>, Error> {
        if let Some(keys) = self.fresh_keys().filter(|keys| keys.contains_key(kid)) {
            return Ok(Some(keys));
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| Error::KeysUnavailable)?;
        let has_succeeded = self.wait_for_fetch().await;
        match self.fresh_keys() {
            Some(keys) if keys.contains_key(kid) => Ok(Some(keys)),
            Some(_) if has_succeeded => Ok(None),
            // While the keys cannot be fetched, it is unknown whether the issuer has this key.
            Some(_) | None => Err(Error::KeysUnavailable),
        }
    }

    /// Fetches the keys, or waits for the fetch that is under way, or does nothing if the last one was less than
    /// `refetch` ago. Returns whether that fetch succeeded.
    async fn wait_for_fetch(self: &Arc<Self>) -> bool {
        let mut last_fetch = Arc::clone(&self.last_fetch).lock_owned().await;
        if let Some((_, has_succeeded)) = last_fetch.filter(|(ended, _)| ended.elapsed() < self.refetch) {
            return has_succeeded;
        }
        // In its own task: a fetch that ended with its caller would not be recorded, and callers who hang up could make
        // any number of them.
        let issuer = Arc::clone(self);
        let fetching = tokio::spawn(async move { issuer.fetch(&mut last_fetch).await });
        fetching.await.unwrap_or(false)
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

    /// The keys as they were last fetched; `None` if that was too long ago.
    pub(super) fn fresh_keys(&self) -> Option<Keys> {
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
        let (issuer, result) = (self.trusted.address.clone(), if fetched.is_ok() { "done" } else { "failed" });
        counter!(meters::ISSUER_FETCHES, "issuer" => issuer, "result" => result).increment(1);
        match fetched {
            Ok(keys) => {
                let keys = KeySet { keys: Arc::new(keys), fetched: begun };
                *self.keys.write() = Some(keys);
                true
            }
            Err(error) => {
                tracing::warn!(issuer = self.trusted.address, error = %error, "cannot fetch the issuer's keys");
                false
            }
        }
    }

    async fn fetch_keys(&self) -> Result<HashMap<String, Key>, IssuerError> {
        let published: PublishedKeys = match &self.source {
            KeySource::Keys(url) => self.fetch_json(&substitute(url, COMMON_TENANT)).await?,
            KeySource::Metadata(url) => {
                let url = substitute(url, COMMON_TENANT);
                let metadata: Metadata = self.fetch_json(&url).await?;
                if metadata.issuer != self.trusted.address {
                    return Err(self.fail(format!("its metadata name another issuer, {}", metadata.issuer)));
                }
                // Metadata that were fetched over https must not name a URL without it.
                if url.starts_with("https:") && !metadata.jwks_uri.starts_with("https:") {
                    return Err(self.fail(format!("{} must be https, like its metadata", metadata.jwks_uri)));
                }
                self.fetch_json(&metadata.jwks_uri).await?
            }
        };
        // Unusable keys are skipped: a set may also hold keys of other kinds.
        let keys: HashMap<String, Key> = published.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(self.fail("it publishes no key that can sign access tokens".into()));
        }
        Ok(keys)
    }

    async fn fetch_json<T: DeserializeOwned>(&self, url: &str) -> Result<T, IssuerError> {
        let parsed = Url::parse(url).map_err(|error| self.fail(error.to_string()))?;
        if !is_confidential(&parsed) {
            return Err(self.fail(format!("{url} must be https, or http on a loopback address")));
        }
        self.fetcher.json(parsed).await.map_err(|problem| self.fail(problem))
    }

    fn fail(&self, problem: String) -> IssuerError {
        IssuerError::new(&self.trusted.address, problem)
    }
}

impl IssuerError {
    pub(super) fn new(address: &str, problem: impl Into<String>) -> Self {
        Self { address: address.into(), problem: problem.into() }
    }
}

/// Where an issuer's metadata are found (OpenID Connect Discovery 1.0, section 4).
fn metadata_of(address: &str) -> String {
    format!("{}/.well-known/openid-configuration", address.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        let fetcher = Arc::new(Fetcher::new(None).expect("clients"));
        let trusted = |address: &str| {
            let source = KeySource::Metadata(metadata_of(address));
            let mut trusted = TrustedIssuer::read_all(&[address.into()]).expect("an issuer");
            Issuer::new(trusted.remove(0), source, Arc::clone(&fetcher), Duration::ZERO).is_ok()
        };
        assert!(trusted("https://login.example/{tenantid}/v2.0"));
        assert!(trusted("http://127.0.0.1:1/{tenantid}/v2.0"));
        assert!(trusted("http://[::1]:1"));
        assert!(!trusted("http://login.example/{tenantid}/v2.0"));
        assert!(!trusted("http://127.0.0.1.example/"));
        assert!(!trusted("http://10.0.0.1/"));
        assert!(!trusted("file:///etc/passwd"));
    }
}
