//! A whole service for one test, with a database of its own.

mod actor;
mod app;
mod database;
mod issuer;
mod ledger;
mod program;
mod proxy;

pub use actor::{Actor, Digest, ErrorExt, Stalled, chunk, crc32c, header, sample_bytes, sha256, span, spans};
pub use app::{App, CATALOG_CLIENT, eventually};
pub use issuer::{FOREIGN_TENANT, TENANT, issuer};
pub use ledger::AuditRow;
pub use program::Program;
pub use proxy::{Cut, Proxy};
