//! A whole service for one test, with a database of its own.

mod actor;
mod app;
mod authority;
mod backend;
mod collector;
mod command;
mod database;
mod environment;
mod issuer;
mod ledger;
mod operator;
mod port;
mod program;
mod proxy;
mod raw;
mod rest;
mod rpc;
mod socket;

pub use actor::{Actor, Digest, ErrorExt, Stalled, chunk, crc32c, header, job_of, sample_bytes, sha256, span, spans};
pub use app::{App, CATALOG_CLIENT, ROBOT, eventually};
pub use authority::Authority;
pub use backend::{Backend, Bucket, settings_of};
pub use collector::Collector;
pub use command::Command;
pub use issuer::{Claims, FOREIGN_TENANT, TENANT, application_claims, issuer, unknown_key, user_claims};
pub use ledger::AuditRow;
pub use operator::{Operator, Scrape};
pub use port::Port;
pub use program::Program;
pub use proxy::{Cut, Proxy};
pub use raw::{call_raw, frame};
pub use rest::{RestActor, refused};
pub use rpc::{Rpc, SIZE};
pub use socket::Socket;
