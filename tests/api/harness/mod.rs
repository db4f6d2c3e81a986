//! A whole service for one test, with a database of its own.

mod actor;
mod app;
mod database;
mod issuer;

pub use actor::{Actor, ErrorExt, crc32c, header, sample_bytes, span};
pub use app::{App, eventually};
pub use issuer::{FOREIGN_TENANT, TENANT, issuer};
