//! Who may call what: tokens, issuers, permissions, upload URLs, and what others may find out.

mod bound_issuers;
mod capability;
mod claims;
mod first_message;
mod isolation;
mod issuers;
mod permissions;
mod printers_and_owners;
mod reflection;
mod sizes;
mod tokens;
