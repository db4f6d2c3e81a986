//! An issuer of a test's own, whose metadata and keys the test can change.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Json, Router, routing::get};
use parking_lot::Mutex;
use print_upload_dev::issuer::{KeyType, TokenIssuer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Claims, Port};

/// An issuer that serves discovery and keys over HTTP, on a loopback address.
#[derive(Debug)]
pub struct Authority {
    /// The value of the service's `--issuer`.
    pub address: String,
    port: Port,
    tokens: TokenIssuer,
    published: Arc<Mutex<Published>>,
    fetches: Arc<AtomicUsize>,
    metadata_fetches: Arc<AtomicUsize>,
    /// Whether requests for its metadata wait.
    holds_metadata: watch::Sender<bool>,
    serving: Option<(CancellationToken, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Published {
    metadata: Value,
    keys: Value,
}

impl Authority {
    /// An issuer for any tenant.
    pub async fn template() -> Self {
        Self::at("{tenantid}").await
    }

    /// An issuer with one address for all tenants.
    pub async fn fixed() -> Self {
        Self::at("common").await
    }

    /// An issuer of v1 tokens for any tenant: its name ends with a slash.
    pub async fn v1() -> Self {
        let port = Port::reserve();
        let address = format!("http://{}/{{tenantid}}/", port.address);
        Self::named(port, address).await
    }

    /// An issuer whose name is not its address. Its metadata are at [`Self::metadata_url`].
    pub async fn elsewhere() -> Self {
        Self::named(Port::reserve(), "https://issuer.example/{tenantid}/v2.0".into()).await
    }

    async fn at(tenant: &str) -> Self {
        let port = Port::reserve();
        let address = format!("http://{}/{tenant}/v2.0", port.address);
        Self::named(port, address).await
    }

    async fn named(port: Port, address: String) -> Self {
        let host = format!("http://{}", port.address);
        let tokens = new_keys(&address);
        let metadata = json!({"issuer": address, "jwks_uri": format!("{host}/keys")});
        let published = Published { metadata, keys: tokens.key_set().expect("keys") };
        let mut authority = Self {
            address,
            port,
            tokens,
            published: Arc::new(Mutex::new(published)),
            fetches: Arc::default(),
            metadata_fetches: Arc::default(),
            holds_metadata: watch::Sender::new(false),
            serving: None,
        };
        authority.restart().await;
        authority
    }

    /// The value of `--issuer` that binds it to a tenant.
    pub fn bound_to(&self, tenant: Uuid) -> String {
        format!("{}={tenant}", self.address)
    }

    /// Another URL of its metadata.
    pub fn metadata_url(&self) -> String {
        format!("http://{}/metadata?appid=7", self.port.address)
    }

    /// The URL of its keys.
    pub fn keys_url(&self) -> String {
        format!("http://{}/keys?appid=7", self.port.address)
    }

    /// An issuer that does not serve yet.
    pub async fn down() -> Self {
        let mut authority = Self::template().await;
        authority.stop().await;
        authority
    }

    fn serve(&mut self, listener: TcpListener) {
        let (published, fetches) = (Arc::clone(&self.published), Arc::clone(&self.fetches));
        let (metadata_fetches, held) = (Arc::clone(&self.metadata_fetches), self.holds_metadata.subscribe());
        let metadata = async move || {
            metadata_fetches.fetch_add(1, Ordering::Relaxed);
            held.clone().wait_for(|held| !held).await.expect("the issuer is still there");
            Json(published.lock().metadata.clone())
        };
        let published = Arc::clone(&self.published);
        let keys = async move || {
            fetches.fetch_add(1, Ordering::Relaxed);
            Json(published.lock().keys.clone())
        };
        let router = Router::new()
            .route("/common/v2.0/.well-known/openid-configuration", get(metadata.clone()))
            .route("/common/.well-known/openid-configuration", get(metadata.clone()))
            .route("/metadata", get(metadata))
            .route("/keys", get(keys));
        let stop = CancellationToken::new();
        // Gracefully: otherwise open connections would still be served.
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        self.serving = Some((stop, tokio::spawn(async move { serving.await.expect("served") })));
    }

    pub async fn stop(&mut self) {
        let (stop, serving) = self.serving.take().expect("an issuer that serves");
        stop.cancel();
        serving.await.expect("stopped");
    }

    /// Serves again at the same address.
    pub async fn restart(&mut self) {
        let listener = self.port.listen().await;
        self.serve(listener);
    }

    /// How often its keys were fetched.
    pub fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }

    /// How often its metadata were asked for.
    pub fn metadata_fetches(&self) -> usize {
        self.metadata_fetches.load(Ordering::Relaxed)
    }

    /// Makes requests for its metadata wait, or lets them go on.
    pub fn hold_metadata(&self, held: bool) {
        self.holds_metadata.send_replace(held);
    }

    /// Replaces its keys and publishes the new ones.
    pub fn rotate(&mut self) {
        self.tokens = new_keys(&self.address);
        self.publish_keys(|_| {});
    }

    /// Publishes its keys after a change. The first key is RSA, the second P-256.
    pub fn publish_keys(&self, change: impl FnOnce(&mut Vec<Value>)) {
        let mut keys = self.tokens.key_set().expect("keys");
        change(keys["keys"].as_array_mut().expect("keys"));
        self.published.lock().keys = keys;
    }

    /// Publishes its metadata with one member changed.
    pub fn publish_metadata(&self, member: &str, value: &str) {
        self.published.lock().metadata[member] = value.into();
    }

    /// A token of this issuer's.
    pub fn sign(&self, claims: &Claims, key: KeyType) -> String {
        self.tokens.sign(claims.clone().of(&self.address).json(), key).expect("a token")
    }

    /// A token that names another issuer, signed with this issuer's key.
    pub fn forge(&self, claims: &Claims) -> String {
        self.tokens.sign(claims.json(), KeyType::Rsa).expect("a token")
    }
}

fn new_keys(address: &str) -> TokenIssuer {
    let folder = TempDir::new().expect("a folder");
    TokenIssuer::with_keys(folder.path(), address.into()).expect("keys")
}
