//! The access tokens that were verified. A caller sends the same token with every call for about an hour, and to verify
//! it again costs more than everything else that the guard does.
//!
//! Only what a token itself says is remembered. Owners, subscriptions and refusals never are.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::sync::Cache;
use serde_json::{Map, Value};

use super::{
    access_token::{AccessToken, LEEWAY_SECONDS},
    issuer::{Issuer, Keys},
};

/// How many tokens are remembered. The one that was used longest ago makes way for another.
const CAPACITY: usize = 4096;

/// The verified tokens, by the SHA-256 of the whole token.
#[derive(Debug)]
pub(super) struct RememberedTokens(Cache<[u8; 32], Arc<Remembered>>);

#[derive(Debug)]
struct Remembered {
    token: AccessToken,
    issuer: Arc<Issuer>,
    /// The issuer's key set that the token was verified with.
    keys: Keys,
    lifetime: Lifetime,
}

/// When a token is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    not_before: f64,
    expires: f64,
}

impl RememberedTokens {
    pub(super) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// A token that was verified with the keys that its issuer has now, and that is valid now.
    pub(super) fn get(&self, token: &str) -> Option<AccessToken> {
        let remembered = self.0.get(&hash(token))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
        let has_same_keys = remembered.issuer.fresh_keys().is_some_and(|keys| Arc::ptr_eq(&keys, &remembered.keys));
        (has_same_keys && remembered.lifetime.contains(now)).then(|| remembered.token.clone())
    }

    /// Remembers a token that was verified with one of these keys of its issuer.
    pub(super) fn insert(&self, text: &str, token: AccessToken, lifetime: Lifetime, issuer: &Arc<Issuer>, keys: Keys) {
        let remembered = Remembered { token, issuer: Arc::clone(issuer), keys, lifetime };
        self.0.insert(hash(text), Arc::new(remembered));
    }
}

impl Lifetime {
    /// The lifetime that verified claims state. `None` if they state no number.
    pub(super) fn of(claims: &Map<String, Value>) -> Option<Self> {
        let expires = claims.get("exp")?.as_f64()?;
        let not_before = match claims.get("nbf") {
            None | Some(Value::Null) => 0.0,
            Some(nbf) => nbf.as_f64()?,
        };
        Some(Self { not_before, expires })
    }

    fn contains(self, now: f64) -> bool {
        let leeway = LEEWAY_SECONDS as f64;
        self.not_before <= now + leeway && now < self.expires + leeway
    }
}

fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(claims: &str) -> Option<Lifetime> {
        Lifetime::of(&serde_json::from_str(claims).expect("claims"))
    }

    #[test]
    fn a_token_is_valid_from_nbf_to_exp_with_a_leeway_on_both_sides() {
        let both = lifetime(r#"{"nbf": 1000, "exp": 2000}"#).expect("a lifetime");
        for (now, is_valid) in [(939.0, false), (940.0, true), (1500.0, true), (2059.0, true), (2060.0, false)] {
            assert_eq!(both.contains(now), is_valid, "at {now}");
        }
        assert!(lifetime(r#"{"exp": 2000}"#).expect("a lifetime").contains(0.0));
    }

    #[test]
    fn a_token_without_readable_times_is_not_remembered() {
        for claims in ["{}", r#"{"exp": "2000"}"#, r#"{"exp": 2000, "nbf": "1000"}"#] {
            assert!(lifetime(claims).is_none(), "{claims}");
        }
    }
}
