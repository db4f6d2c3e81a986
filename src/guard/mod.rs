//! The guard: the layer in front of every RPC. It authenticates the caller and authorizes the call.
//!
//! Its steps: authenticate from the headers, before any byte of the body is read → scopes or roles → the first message
//! → tenant subscription → printer permission → the resource → ownership → a typed proof in the request's extensions.
//! The rule of each RPC is next to it in the proto. As long as a caller may not know whether something exists, its
//! error is the same in both cases.

mod access_token;
mod authorize;
mod credentials;
mod fetch;
mod first_message;
mod issuer;
mod key;
mod permission;
mod prove;
mod rates;
mod remembered_tokens;
mod rules;
mod template;
mod trusted_issuer;
mod upload_url;

use std::sync::Arc;

use axum::http::Extensions;
use uuid::{Uuid, uuid};

pub use authorize::check;
pub use issuer::Issuers;
pub use rates::Rates;
pub use rules::{RuleError, Rules};
pub use upload_url::UploadUrls;

use crate::{permits::Permits, store::Store};

/// The tenant of personal Microsoft accounts, see "access token claims reference" of the Microsoft identity platform,
/// claim `tid`.
pub const PERSONAL_ACCOUNTS_TENANT: Uuid = uuid!("9188040d-6c67-4c5b-b112-36a304b66dad");

/// The caller's own credential would authorize UploadRange. Only such a caller gets an upload URL: reading is never
/// turned into sending.
#[derive(Debug, Clone, Copy)]
pub struct MaySend(());

impl MaySend {
    /// Whether the guard has found that the caller of a request may send.
    pub fn is_in(extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some()
    }
}

/// Everything that the guard needs to decide.
#[derive(Debug)]
pub struct Guard {
    /// The rule of each RPC.
    pub rules: Rules,
    /// The issuers of access tokens.
    pub issuers: Arc<Issuers>,
    /// Signs and verifies the capabilities in upload URLs.
    pub upload_urls: Arc<UploadUrls>,
    /// Where resources are looked up.
    pub store: Store,
    /// The client ids of the applications that maintain the catalog.
    pub catalog_clients: Vec<String>,
    /// The permits to receive ranges. Their number is limited, because each range holds a few MiB.
    pub range_permits: Permits,
    /// How often a caller may call.
    pub rates: Rates,
}
