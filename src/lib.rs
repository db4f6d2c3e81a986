//! Upload sessions of print jobs, over gRPC and over REST.
//!
//! A call goes from left to right and never turns back:
//!
//! ```text
//! gRPC ─ listen ─ router ─┬─ telemetry ─ guard ─ rpc ─┬ session, range, name   pure rules
//! REST ─ listen ─ gateway ┘                           ├ store                  all SQL
//!                                                     └ blobs                  all bytes
//! ```
//!
//! Read in this order: [`session`] has the rules of sessions and the proofs that callers need; [`store`] keeps sessions
//! in Postgres, where the row of a session decides whether a cancel or a range came first; [`blobs`] keeps the bytes;
//! [`guard`] authorizes a call and makes its proof; [`rpc`] handles it; [`sweeper`] expires and purges sessions;
//! [`reclaim`] drops their bytes; [`quotas`] has the limits of what callers and tenants use; [`gateway`] translates
//! REST calls in the form of Microsoft Graph; [`telemetry`] and [`admin`] are for operators; [`server`] starts and
//! stops everything.
//!
//! Programs that upload need the crate `print-upload-client` and nothing of this one. `print-upload-dev` runs the whole
//! service on one machine.

// First: the modules below use its macro.
#[macro_use]
pub mod crash;

pub mod admin;
pub mod app_state;
pub mod blobs;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod connection_options;
pub mod error;
pub mod gateway;
pub mod guard;
mod health;
pub mod http_options;
pub mod issuer_options;
pub mod listen;
pub mod name;
mod open_calls;
pub mod permits;
pub mod process;
pub mod proto;
pub mod quota_options;
pub mod quotas;
pub mod range;
mod range_bytes;
pub mod reclaim;
pub mod relay;
mod repeat;
pub mod retention_options;
pub mod rpc;
pub mod secret_files;
pub mod server;
pub mod session;
pub mod store;
mod store_identity;
pub mod sweeper;
pub mod telemetry;
pub mod text;
pub mod tls;
pub mod writers;
