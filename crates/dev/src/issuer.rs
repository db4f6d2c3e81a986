//! A token issuer for development: a template issuer like the Microsoft identity platform, with discovery and a real
//! key set, over HTTP on a loopback address or over https. Everybody who can read its keys can issue any token.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair},
};
use axum::{Json, Router, extract, routing::get};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::private_file;

/// The audience of the issuer's tokens.
pub const AUDIENCE: &str = "api://print-upload";

/// How long tokens are valid by default.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// The files that hold the issuer's private keys, PKCS #8 in PEM.
const RSA_KEY: &str = "issuer-rsa.pem";
const P256_KEY: &str = "issuer-p256.pem";

/// The file that holds the issuer's address.
const ADDRESS: &str = "issuer-address";

/// Signs tokens.
#[derive(Clone)]
pub struct TokenIssuer {
    /// The issuer's address, with `{tenantid}` for the tenant.
    pub address: String,
    rsa: SigningKey,
    ec: SigningKey,
}

/// Which of the issuer's keys signs. Neither is published with an `alg`: it follows from the type of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// RSA, 2048 bits: RS256.
    Rsa,
    /// P-256: ES256.
    P256,
}

/// Who a token is issued to, and what they may do.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A user, by object id, with delegated scopes.
    User { oid: String, scopes: Vec<String> },
    /// An application, by client id, with application roles.
    Application { app_id: String, roles: Vec<String> },
}

#[derive(Clone)]
struct SigningKey {
    key: EncodingKey,
    algorithm: Algorithm,
    kid: String,
}

impl TokenIssuer {
    /// The issuer at a loopback address, with the keys in `folder`. Creates them when there are none.
    pub fn open(folder: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        Self::with_keys(folder, format!("http://{address}/{{tenantid}}/v2.0"))
    }

    /// The issuer at any address, with the keys in `folder`. Creates them when there are none.
    pub fn with_keys(folder: &Path, address: String) -> anyhow::Result<Self> {
        let rsa = private_file::load_or_create(&folder.join(RSA_KEY), || {
            let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
            let der: Pkcs8V1Der<'_> = key.as_der()?;
            Ok(private_key_pem(der.as_ref()))
        })?;
        let p256 = private_file::load_or_create(&folder.join(P256_KEY), || {
            let random = aws_lc_rs::rand::SystemRandom::new();
            let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
            Ok(private_key_pem(key.as_ref()))
        })?;
        let rsa = SigningKey::new(EncodingKey::from_rsa_pem(&rsa)?, Algorithm::RS256)?;
        let ec = SigningKey::new(EncodingKey::from_ec_pem(&p256)?, Algorithm::ES256)?;
        Ok(Self { address, rsa, ec })
    }

    /// The issuer that has its keys and its address in a folder.
    pub fn of_folder(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join(ADDRESS);
        let is_there = fs::exists(&file)? && fs::exists(folder.join(RSA_KEY))?;
        ensure!(is_there, "{} holds no issuer: start `print-upload-dev up` first", folder.display());
        Self::with_keys(folder, fs::read_to_string(&file)?.trim().to_owned())
    }

    /// Writes the address into the folder. Everybody who can read the folder can then sign in the issuer's name.
    pub fn write_address(&self, folder: &Path) -> anyhow::Result<()> {
        private_file::write(&folder.join(ADDRESS), self.address.as_bytes())
    }

    /// Issues a token.
    pub fn issue(&self, tenant: Uuid, subject: &Subject, lifetime: Duration) -> anyhow::Result<String> {
        let now = jsonwebtoken::get_current_timestamp();
        let mut claims = json!({
            "iss": self.address.replace("{tenantid}", &tenant.to_string()),
            "aud": AUDIENCE,
            "iat": now,
            "nbf": now,
            "exp": now + lifetime.as_secs(),
            "tid": tenant,
            "ver": "2.0",
        });
        match subject {
            Subject::User { oid, scopes } => {
                claims["oid"] = json!(oid);
                claims["scp"] = json!(scopes.join(" "));
                self.sign(&claims, KeyType::Rsa)
            }
            Subject::Application { app_id, roles } => {
                claims["azp"] = json!(app_id);
                claims["idtyp"] = json!("app");
                claims["roles"] = json!(roles);
                self.sign(&claims, KeyType::P256)
            }
        }
    }

    /// Signs any claims.
    pub fn sign(&self, claims: &Value, key: KeyType) -> anyhow::Result<String> {
        self.sign_with(claims, key, |_| {})
    }

    /// Signs any claims, with a header that `change` has changed.
    pub fn sign_with(&self, claims: &Value, key: KeyType, change: impl FnOnce(&mut Header)) -> anyhow::Result<String> {
        let key = match key {
            KeyType::Rsa => &self.rsa,
            KeyType::P256 => &self.ec,
        };
        let mut header = Header { kid: Some(key.kid.clone()), ..Header::new(key.algorithm) };
        change(&mut header);
        encode(&header, claims, &key.key).context("signing a token")
    }

    /// The public keys, as the issuer publishes them at its `jwks_uri`.
    pub fn key_set(&self) -> anyhow::Result<Value> {
        Ok(json!({"keys": [self.rsa.public()?, self.ec.public()?]}))
    }

    /// Serves discovery and the key set on loopback until `shutdown`.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
        let router = self.router(&format!("http://{}", listener.local_addr()?))?;
        axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await?;
        Ok(())
    }

    /// Serves discovery and the key set of an issuer whose base URL is `base`.
    pub fn router(&self, base: &str) -> anyhow::Result<Router> {
        let key_set = Arc::new(self.key_set()?);
        let jwks_uri = format!("{base}/discovery/v2.0/keys");
        let address = self.address.clone();
        let metadata = move |extract::Path(tenant): extract::Path<String>| async move {
            let issuer = if tenant == "common" { address } else { address.replace("{tenantid}", &tenant) };
            Json(json!({"issuer": issuer, "jwks_uri": jwks_uri}))
        };
        Ok(Router::new()
            .route("/{tenant}/v2.0/.well-known/openid-configuration", get(metadata))
            .route("/discovery/v2.0/keys", get(move || async move { Json(Value::clone(&key_set)) })))
    }
}

impl SigningKey {
    fn new(key: EncodingKey, algorithm: Algorithm) -> anyhow::Result<Self> {
        let kid = Jwk::from_encoding_key(&key, algorithm)?.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256)?;
        Ok(Self { key, algorithm, kid })
    }

    fn public(&self) -> anyhow::Result<Value> {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm)?;
        jwk.common.key_algorithm = None;
        jwk.common.key_id = Some(self.kid.clone());
        jwk.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        Ok(serde_json::to_value(jwk)?)
    }
}

impl std::fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenIssuer").field("address", &self.address).finish_non_exhaustive()
    }
}

fn private_key_pem(pkcs8: &[u8]) -> Vec<u8> {
    pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8)).into_bytes()
}
