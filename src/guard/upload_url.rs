//! The capability in an `upload_url`: a token that this service signs for one session, with its own keys.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, errors::ErrorKind};
use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    error::{Error, TokenProblem},
    name::{SessionId, TenantId},
    session::Capability,
};

/// The `aud` of every upload token. Because of it, an upload token is never accepted as an access token, nor the other
/// way round.
const AUDIENCE: &str = "print-upload/upload-url";

/// The shortest key, in bytes: what HMAC-SHA-256 can use.
const MIN_KEY_BYTES: usize = 32;

/// Signs and verifies upload URLs.
pub struct UploadUrls {
    base: String,
    /// Never locked across an await.
    keys: RwLock<Keys>,
}

struct Keys {
    signing: EncodingKey,
    verifying: Vec<DecodingKey>,
}

/// Why keys cannot sign upload tokens.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key at all.
    #[error("at least one upload token key is needed")]
    None,
    /// A key that is short enough to be guessed.
    #[error("an upload token key needs at least {MIN_KEY_BYTES} bytes")]
    TooShort,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    exp: u64,
    tid: Uuid,
    sid: Uuid,
    /// How often the session's upload URL had been renewed. Missing for 0, as in the tokens of older programs.
    #[serde(rename = "gen", default, skip_serializing_if = "is_zero")]
    url_generation: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl UploadUrls {
    /// Upload URLs below `public_url`. The first key signs, all keys verify. Replicas share the keys.
    pub fn new(public_url: &str, keys: &[SecretString]) -> Result<Self, KeyError> {
        let keys = RwLock::new(Keys::of(keys)?);
        Ok(Self { base: public_url.trim_end_matches('/').to_owned(), keys })
    }

    /// Uses other keys from now on. If they cannot be used, the old ones stay.
    pub fn use_keys(&self, keys: &[SecretString]) -> Result<(), KeyError> {
        *self.keys.write() = Keys::of(keys)?;
        Ok(())
    }

    /// `{public url}/uploadSessions/{id}?tempauthtoken={token}`, with a token that is valid until `expire_limit`, the
    /// session's hard cap. Whether the session still accepts calls, and this URL, is decided by its row.
    pub fn sign(&self, capability: Capability, expire_limit: SystemTime) -> Result<String, Error> {
        let Capability { tenant, session, url_generation } = capability;
        let since_epoch = expire_limit.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let (aud, exp) = (AUDIENCE.to_owned(), since_epoch.as_secs());
        let claims = Claims { aud, exp, tid: tenant.0, sid: session.0, url_generation };
        let token = encode(&Header::new(Algorithm::HS256), &claims, &self.keys.read().signing)
            .map_err(|error| Error::Internal(format!("signing an upload token: {error}")))?;
        Ok(format!("{}/{session}?tempauthtoken={token}", self.base))
    }

    /// Verifies an upload token.
    pub fn verify(&self, token: &[u8]) -> Result<Capability, Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        let keys = self.keys.read();
        let verified = keys.verifying.iter().map(|key| decode::<Claims>(token, key, &validation));
        let mut expired = false;
        for result in verified {
            match result {
                Ok(token) => {
                    let Claims { tid, sid, url_generation, .. } = token.claims;
                    return Ok(Capability { tenant: TenantId(tid), session: SessionId(sid), url_generation });
                }
                Err(error) => expired |= *error.kind() == ErrorKind::ExpiredSignature,
            }
        }
        Err(if expired { TokenProblem::UploadTokenExpired.into() } else { TokenProblem::UploadTokenInvalid.into() })
    }
}

impl Keys {
    fn of(keys: &[SecretString]) -> Result<Self, KeyError> {
        if keys.iter().any(|key| key.expose_secret().len() < MIN_KEY_BYTES) {
            return Err(KeyError::TooShort);
        }
        let first = keys.first().ok_or(KeyError::None)?;
        Ok(Self {
            signing: EncodingKey::from_secret(first.expose_secret().as_bytes()),
            verifying: keys.iter().map(|key| DecodingKey::from_secret(key.expose_secret().as_bytes())).collect(),
        })
    }
}

impl std::fmt::Debug for UploadUrls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadUrls").field("base", &self.base).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Reason;

    fn urls(keys: &[&str]) -> UploadUrls {
        let keys: Vec<SecretString> = keys.iter().map(|key| SecretString::from(key.repeat(MIN_KEY_BYTES))).collect();
        UploadUrls::new("https://upload.example/", &keys).expect("keys")
    }

    fn capability() -> Capability {
        let (tenant, session) = (TenantId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(2)));
        Capability { tenant, session, url_generation: 0 }
    }

    fn token(url: &str) -> &[u8] {
        url.split_once("tempauthtoken=").expect("a token").1.as_bytes()
    }

    fn in_an_hour() -> SystemTime {
        SystemTime::now() + Duration::from_secs(3600)
    }

    #[test]
    fn a_token_authorizes_calls_for_the_session_it_was_signed_for() {
        for url_generation in [0, 1, u32::MAX] {
            let capability = Capability { url_generation, ..capability() };
            let url = urls(&["a"]).sign(capability, in_an_hour()).expect("a url");
            let id = capability.session.0;
            assert!(url.starts_with(&format!("https://upload.example/uploadSessions/{id}?tempauthtoken=")));
            let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
            assert!(token(&url).iter().all(|&c| unreserved(c.into())), "clients take it for a URI template: {url}");
            assert_eq!(urls(&["b", "a"]).verify(token(&url)).ok(), Some(capability));
        }
    }

    #[test]
    fn other_keys_can_be_used_from_now_on() {
        let urls = urls(&["a"]);
        let old = urls.sign(capability(), in_an_hour()).expect("a url");
        let key = |key: &str| SecretString::from(key.repeat(MIN_KEY_BYTES));
        urls.use_keys(&[key("b"), key("a")]).expect("keys");
        let new = urls.sign(capability(), in_an_hour()).expect("a url");
        assert!(old != new && urls.verify(token(&old)).is_ok() && urls.verify(token(&new)).is_ok());
        urls.use_keys(&[key("b")]).expect("a key");
        for unusable in [vec![], vec![SecretString::from("short")]] {
            urls.use_keys(&unusable).expect_err("unusable");
        }
        assert!(urls.verify(token(&old)).is_err() && urls.verify(token(&new)).is_ok());
    }

    #[test]
    fn a_token_of_an_unknown_key_or_past_its_time_is_refused() {
        let url = urls(&["a"]).sign(capability(), in_an_hour()).expect("a url");
        assert!(urls(&["b"]).verify(token(&url)).is_err());
        let url = urls(&["a"]).sign(capability(), SystemTime::UNIX_EPOCH).expect("a url");
        let error = urls(&["b", "a"]).verify(token(&url)).expect_err("expired");
        assert_eq!(error.code_and_reason().1, Reason::UploadTokenExpired);
    }

    #[test]
    fn short_keys_are_refused() {
        assert!(UploadUrls::new("http://x", &[SecretString::from("secret")]).is_err());
        assert!(UploadUrls::new("http://x", &[]).is_err());
    }
}
