//! A client of the service: the generated stubs with a credential on every call, and what is tedious to do with them alone.
//!
//! [`Client`] holds the stubs of every service of the proto, for calls as they are. Its methods add what each caller would
//! have to write: a deadline, another try where one may help ([`retry_delay`]), an upload in parallel ranges that goes on
//! after whatever broke it, a download that does the same, checksums on both.
//!
//! An upload needs two calls. Creating a session is idempotent: for the same document and the same properties its owner gets
//! the same session again, with the ranges that it still misses. So a program that was killed in the middle simply does
//! everything again.
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

pub use client::{Authorized, Client, range_messages};
pub use code_name::code_name;
pub use credential::{Credential, secret};
pub use error::{Error, state_name};
pub use options::UploadOptions;
pub use progress::Progress;
pub use proto::Reason;
pub use reason::ended_session_message;
pub use retry::retry_delay;
pub use source::Source;
pub use transport::{Transport, connect};
pub use wire::{KEEPALIVE, MAX_CHUNK_BYTES, STREAM_WINDOW, UPLOAD_TOKEN, chunks};
