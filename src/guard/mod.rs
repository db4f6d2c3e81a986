//! The interceptor: one layer in front of every RPC that decides who may do what.
//!
//! authenticate from the headers, before any body byte is read → scopes or roles → the first message → tenant
//! subscription → printer permission → the resource → ownership → a typed proof in the request's extensions.
//! The rule of each RPC stands beside it in the proto. An error never depends on whether something exists before the
//! caller may know it.

mod access_token;
mod authorize;
mod credentials;
mod first_message;
mod issuer;
mod key;
mod permission;
mod permits;
mod prove;
mod rules;
mod template;
mod upload_url;

use std::sync::Arc;

use uuid::{Uuid, uuid};

pub use authorize::check;
pub use issuer::Issuers;
pub use permits::{RangePermit, RangePermits};
pub use rules::{RuleError, Rules};
pub use upload_url::UploadUrls;

use crate::store::Store;

/// The directory that personal Microsoft accounts live in, see "access token claims reference" of the Microsoft identity
/// platform, claim `tid`.
pub const PERSONAL_ACCOUNTS_TENANT: Uuid = uuid!("9188040d-6c67-4c5b-b112-36a304b66dad");

/// Everything the interceptor asks.
#[derive(Debug)]
pub struct Guard {
    /// The rule of each RPC.
    pub rules: Rules,
    /// Who issues access tokens.
    pub issuers: Arc<Issuers>,
    /// Who issues capabilities: this service.
    pub upload_urls: Arc<UploadUrls>,
    /// Where resources are looked up.
    pub store: Store,
    /// The client ids of the applications that maintain the catalog.
    pub catalog_clients: Vec<String>,
    /// One permit per range that is received at once: each holds a few MiB.
    pub range_permits: RangePermits,
}
