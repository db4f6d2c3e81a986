//! The caller of a request, and the kinds of its credential.

use std::fmt;

use crate::name::{self, SessionId, TenantId};

/// A user or an application of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A user, by object id (claim `oid`).
    User(String),
    /// An application, by client id (claim `azp` or `appid`).
    Application(String),
}

impl Principal {
    /// Parses the stored form, `user:{oid}` or `app:{appid}`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once(':')?;
        let id = name::id(id)?;
        match kind {
            "user" => Some(Self::User(id)),
            "app" => Some(Self::Application(id)),
            _ => None,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(oid) => write!(f, "user:{oid}"),
            Self::Application(app_id) => write!(f, "app:{app_id}"),
        }
    }
}

/// An authenticated principal in its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The tenant of the access token.
    pub tenant: TenantId,
    /// The user or application that it was issued to.
    pub principal: Principal,
}

/// The capability in an `upload_url`: a caller with it may send to one session, get it and delete it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// The session's tenant.
    pub tenant: TenantId,
    /// The session.
    pub session: SessionId,
}

/// The kind of credential that authorized a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// An access token.
    AccessToken,
    /// The capability in an `upload_url`.
    UploadUrl,
}

impl Credential {
    /// The form that is stored in the audit trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access-token",
            Self::UploadUrl => "upload-url",
        }
    }
}
