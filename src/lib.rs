//! Upload sessions of print jobs, over gRPC and over REST.
//!
//! A call goes from left to right and never turns back:
//!
//! ```text
//! gRPC ─ listen ─ telemetry ─ router ── guard ── rpc handlers ── session (pure rules), store (all SQL), blobs (all bytes)
//! REST ─ listen ─ gateway ─ client ────────┘
//! ```
//!
//! Read in this order: [`session`] says what a session is and who may do what with it; [`store`] keeps it in Postgres,
//! where its row is the fence that makes a cancel final; [`blobs`] keeps the bytes; [`guard`] lets a call in with a typed
//! proof; [`rpc`] answers it; [`sweeper`] cleans up behind it; [`gateway`] translates it for those who speak Microsoft
//! Graph; [`telemetry`] and [`admin`] let operators watch; [`server`] puts everything together.
//!
//! Programs that upload need the crate `print-upload-client` and nothing of this one. `print-upload-dev` runs it all on one
//! machine.

pub mod admin;
pub mod app_state;
pub mod blobs;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod error;
pub mod gateway;
pub mod guard;
pub mod listen;
pub mod name;
pub mod process;
pub mod proto;
pub mod range;
pub mod relay;
mod repeat;
pub mod rpc;
pub mod secret_files;
pub mod server;
pub mod session;
pub mod store;
pub mod sweeper;
pub mod telemetry;
pub mod tls;
pub mod writers;
