//! Which permissions allow which call. Pure functions that compare an RPC's rule with the token's grant.

use std::collections::BTreeSet;

use super::rules::Rule;
use crate::{error::Error, name::Queue, session::Reach};

/// What the issuer has granted: to a user through an application, or to the application itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Delegated scopes (claim `scp`).
    Delegated(BTreeSet<String>),
    /// Application roles (claim `roles` of an application's token).
    Application(BTreeSet<String>),
}

/// The permissions for "Get printer", of users and applications.
const PRINTER: [&str; 2] = ["Printer.Read.All", "Printer.ReadWrite.All"];
/// One more permission for "Get printer", of users only.
const PRINTER_DELEGATED: &str = "Printer.FullControl.All";
/// The permissions for "Get printer share", of users only.
const SHARE: [&str; 3] = ["PrinterShare.ReadBasic.All", "PrinterShare.Read.All", "PrinterShare.ReadWrite.All"];

/// Fails unless the grant has one of the rule's permissions.
pub fn require_permission(rule: &Rule, grant: &Grant) -> Result<(), Error> {
    let needed = needed(rule, grant);
    if needed.iter().any(|permission| grant.permissions().contains(permission)) {
        return Ok(());
    }
    let needed = if needed.is_empty() { "none is accepted from this kind of caller".into() } else { needed.join(", ") };
    Err(Error::MissingPermission { needed })
}

/// How far the rule's permissions in the grant reach.
pub fn reach(rule: &Rule, grant: &Grant) -> Reach {
    let mut held = needed(rule, grant).iter().filter(|permission| grant.permissions().contains(*permission));
    if held.any(|permission| permission.ends_with(".All")) { Reach::AnyJob } else { Reach::OwnJobs }
}

/// Fails unless the tenant may use the service at all.
pub fn require_subscription(subscription_active: bool) -> Result<(), Error> {
    if subscription_active { Ok(()) } else { Err(Error::NoSubscription) }
}

/// Fails for an application without the print task that the rule requires. Users need none.
pub fn require_task(rule: &Rule, grant: &Grant, has_own_task: bool) -> Result<(), Error> {
    let needs_task = rule.processing_task && matches!(grant, Grant::Application(_));
    if needs_task && !has_own_task { Err(Error::NoProcessingTask) } else { Ok(()) }
}

/// Fails unless the grant allows the use of the printer or share in the resource's name.
pub fn require_queue(grant: &Grant, queue: &Queue) -> Result<(), Error> {
    let is_allowed = match queue {
        Queue::Printer(_) => grant.may_use_printers(),
        Queue::Share(_) => grant.may_use_shares(),
    };
    if is_allowed { Ok(()) } else { Err(Error::NoPrinterPermission) }
}

/// Fails unless the grant allows the use of printers or shares. A session's id does not name which of the two.
pub fn require_any_queue(grant: &Grant) -> Result<(), Error> {
    if grant.may_use_printers() || grant.may_use_shares() { Ok(()) } else { Err(Error::NoPrinterPermission) }
}

fn needed<'rule>(rule: &'rule Rule, grant: &Grant) -> &'rule [String] {
    match grant {
        Grant::Delegated(_) => &rule.scopes,
        Grant::Application(_) => &rule.roles,
    }
}

impl Grant {
    fn permissions(&self) -> &BTreeSet<String> {
        match self {
            Self::Delegated(scopes) => scopes,
            Self::Application(roles) => roles,
        }
    }

    fn has_any(&self, permissions: &[&str]) -> bool {
        permissions.iter().any(|permission| self.permissions().contains(*permission))
    }

    fn may_use_printers(&self) -> bool {
        let delegated = matches!(self, Self::Delegated(_));
        self.has_any(&PRINTER) || (delegated && self.has_any(&[PRINTER_DELEGATED]))
    }

    fn may_use_shares(&self) -> bool {
        matches!(self, Self::Delegated(_)) && self.has_any(&SHARE)
    }
}
