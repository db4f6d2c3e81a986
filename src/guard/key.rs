//! Published keys (RFC 7517) that sign access tokens.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};

use super::template::substitute;

/// A key that an issuer signs with.
#[derive(Debug, Clone)]
pub struct Key {
    /// The public key.
    pub key: DecodingKey,
    /// The only algorithm that it is used with.
    pub algorithm: Algorithm,
    /// The issuer, or template of issuers, that the key may sign for. `None`: every tenant of the issuer that publishes
    /// it.
    issuer: Option<String>,
}

impl Key {
    /// Reads a published key, and returns it with its id. `None` for a key that cannot sign access tokens.
    pub fn read(published: serde_json::Value) -> Option<(String, Self)> {
        let issuer = match published.get("issuer") {
            Some(issuer) => Some(issuer.as_str()?.to_owned()),
            None => None,
        };
        let jwk: Jwk = serde_json::from_value(published).ok()?;
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let algorithm = algorithm(&jwk)?;
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some((jwk.common.key_id?, Self { key, algorithm, issuer }))
    }

    /// Whether the key may sign tokens of `iss` in the tenant `tid`.
    pub fn may_sign_for(&self, iss: &str, tid: &str) -> bool {
        self.issuer.as_ref().is_none_or(|issuer| substitute(issuer, tid) == iss)
    }
}

/// The key's algorithm: its `alg`, else the default of its type. `None` if that is not accepted.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let by_type = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P384 => Algorithm::ES384,
        _ => return None,
    };
    let named = match jwk.common.key_algorithm {
        None => by_type,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(KeyAlgorithm::RS384) => Algorithm::RS384,
        Some(KeyAlgorithm::RS512) => Algorithm::RS512,
        Some(KeyAlgorithm::PS256) => Algorithm::PS256,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::ES384) => Algorithm::ES384,
        Some(_) => return None,
    };
    let is_rsa = by_type == Algorithm::RS256;
    let fits = if is_rsa { !matches!(named, Algorithm::ES256 | Algorithm::ES384) } else { named == by_type };
    fits.then_some(named)
}
