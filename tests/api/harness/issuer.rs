//! One token issuer for all tests of this process, with its key set served over HTTP.

use std::{fs, net::TcpListener, sync::OnceLock, thread};

use jsonwebtoken::EncodingKey;
use print_upload_dev::issuer::{AUDIENCE, KeyType, TokenIssuer};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::{Uuid, uuid};

use super::ROBOT;

/// The tenant of the tests.
pub const TENANT: Uuid = uuid!("aaaaaaaa-0000-4000-8000-000000000001");
/// Another tenant, with the same printer, share and job ids.
pub const FOREIGN_TENANT: Uuid = uuid!("bbbbbbbb-0000-4000-8000-000000000002");

/// The issuer. It runs on a thread of its own and outlives every test.
pub fn issuer() -> &'static TokenIssuer {
    static ISSUER: OnceLock<TokenIssuer> = OnceLock::new();
    ISSUER.get_or_init(|| {
        let keys = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let issuer = TokenIssuer::open(keys.path(), listener.local_addr().expect("an address")).expect("an issuer");
        let serving = issuer.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                listener.set_nonblocking(true).expect("a listener");
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                serving.serve(listener, CancellationToken::new()).await
            })
        });
        issuer
    })
}

/// The claims of an access token. Tests change them before they sign.
#[derive(Debug, Clone)]
pub struct Claims(Value);

/// The claims of a token for ada, with every permission of a user on her own jobs.
pub fn user_claims() -> Claims {
    let scopes = "PrintJob.Create PrintJob.ReadWrite Printer.Read.All PrinterShare.Read.All";
    common_claims().with("oid", "ada").with("scp", scopes)
}

/// The claims of a token for the robot, with every permission of an application.
pub fn application_claims() -> Claims {
    let roles = json!(["PrintJob.ReadWrite.All", "Printer.Read.All"]);
    common_claims().with("azp", ROBOT).with("idtyp", "app").with("roles", roles)
}

fn common_claims() -> Claims {
    let now = jsonwebtoken::get_current_timestamp();
    let claims = json!({"aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 600});
    Claims(claims).with("tid", TENANT.to_string()).of(&issuer().address)
}

impl Claims {
    pub fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.0[claim] = value.into();
        self
    }

    pub fn without(mut self, claim: &str) -> Self {
        self.0.as_object_mut().expect("an object").remove(claim);
        self
    }

    /// The claims for another tenant of the same issuer.
    pub fn in_tenant(self, tenant: &str) -> Self {
        self.with("tid", tenant).of(&issuer().address)
    }

    /// The claims of another issuer, which may be a template.
    pub fn of(self, issuer: &str) -> Self {
        let iss = issuer.replace("{tenantid}", self.0["tid"].as_str().expect("a tenant"));
        self.with("iss", iss)
    }

    /// A token signed by the issuer of all tests.
    pub fn signed(&self) -> String {
        self.signed_with(KeyType::Rsa)
    }

    pub fn signed_with(&self, key: KeyType) -> String {
        issuer().sign(&self.0, key).expect("a token")
    }

    pub fn json(&self) -> &Value {
        &self.0
    }
}

/// An RSA key that no issuer publishes.
pub fn unknown_key() -> EncodingKey {
    static KEY: OnceLock<EncodingKey> = OnceLock::new();
    let generate = || {
        let folder = tempfile::tempdir().expect("a folder");
        TokenIssuer::with_keys(folder.path(), String::new()).expect("keys");
        let key = fs::read(folder.path().join("issuer-rsa.pem")).expect("a key");
        EncodingKey::from_rsa_pem(&key).expect("a key")
    };
    KEY.get_or_init(generate).clone()
}
