//! The credential that a call presents in its headers.

use super::{PERSONAL_ACCOUNTS_TENANT, access_token::AccessToken, permission, rules::Rule};
use crate::{
    error::Error,
    name::TenantId,
    permits::Holder,
    session::{Caller, Capability, Principal},
    telemetry::{CallerKind, RequestLog},
};

/// A verified credential.
pub(super) enum Credentials {
    Token(AccessToken),
    Capability(Capability),
}

impl Credentials {
    /// Records the caller in the request's log.
    pub(super) fn record(&self, log: &RequestLog) {
        match self {
            Self::Token(AccessToken { caller: Caller { tenant, principal }, .. }) => {
                let kind = match principal {
                    Principal::User(_) => CallerKind::User,
                    Principal::Application(_) => CallerKind::Application,
                };
                log.set_caller(kind, tenant.0);
            }
            Self::Capability(capability) => {
                log.set_caller(CallerKind::Capability, capability.tenant.0);
                log.set_upload(capability.session.0);
            }
        }
    }

    /// The tenant and the holder that a permit of the call counts for.
    pub(super) fn holder(&self) -> (TenantId, Holder) {
        match self {
            Self::Token(AccessToken { caller: Caller { tenant, principal }, .. }) => {
                (*tenant, Holder::Principal(principal.clone()))
            }
            Self::Capability(capability) => (capability.tenant, Holder::UploadUrl(capability.session)),
        }
    }

    /// Fails unless the credential is sufficient for the rule, before any resource is known.
    pub(super) fn require_permission(&self, rule: &Rule) -> Result<(), Error> {
        match self {
            Self::Token(token) if token.caller.tenant.0 == PERSONAL_ACCOUNTS_TENANT => Err(Error::PersonalAccount),
            Self::Token(token) => permission::require_permission(rule, &token.grant),
            Self::Capability(_) if rule.capability => Ok(()),
            Self::Capability(_) => Err(Error::UploadTokenNotAccepted),
        }
    }
}
