//! A client of the service: the generated stubs with a credential on every call, and transfers on top of them.
//!
//! [`Client`] has the stubs of every service of the proto, for single calls. Its methods add what every caller would
//! have to write: a deadline, retries of transient failures ([`retry_delay`]), an upload in parallel ranges that goes
//! on after a failure, a download that does the same, and checksums for both.
//!
//! An upload takes two calls. Creating a session is idempotent: for the same document and the same properties the owner
//! gets the same session again, with the ranges that it is still missing. A program that was killed in the middle makes
//! the same two calls again.
//!
//! ```no_run
#![doc = include_str!("../examples/upload.rs")]
//! ```

#![warn(missing_docs)]

mod client;
mod code_name;
mod compare;
mod credential;
mod download;
mod error;
mod options;
mod progress;
#[allow(missing_docs, reason = "comments of the proto are its documentation")]
pub mod proto;
mod reason;
mod replicas;
mod retry;
mod send;
mod source;
mod transport;
mod upload;
mod wire;

pub use client::{Client, range_messages};
pub use code_name::code_name;
pub use credential::Credential;
pub use error::{Error, state_name};
pub use options::UploadOptions;
pub use progress::Progress;
pub use proto::Reason;
pub use reason::{ended_session_message, reason_name};
pub use retry::retry_delay;
pub use source::Source;
pub use transport::{Transport, connect};
pub use wire::{KEEPALIVE, MAX_CHUNK_BYTES, MAX_CREDENTIAL_BYTES, STREAM_WINDOW, UPLOAD_TOKEN, chunks};
