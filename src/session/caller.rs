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

/// The id of a user or an application. GUIDs are the same in capitals, so they are kept in small letters.
pub fn identity(text: &str) -> Option<String> {
    let id = name::id(text)?;
    Some(if name::guid(&id).is_some() { id.to_ascii_lowercase() } else { id })
}

impl Principal {
    /// Parses the stored form, `user:{oid}` or `app:{appid}`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once(':')?;
        let id = identity(id)?;
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
    /// How often the session's upload URL had been renewed when this one was signed.
    pub url_generation: u32,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_guids_are_the_same_in_capitals() {
        let guid = "0F9D3A52-7a6d-4C59-9F0C-0A1B2C3D4E5F";
        assert_eq!(identity(guid), Some(guid.to_ascii_lowercase()));
        assert_eq!(identity("Robot-1"), Some("Robot-1".into()));
        assert_eq!(identity("a:b"), None);
        let stored = format!("app:{guid}");
        assert_eq!(Principal::parse(&stored), Some(Principal::Application(guid.to_ascii_lowercase())));
    }
}
