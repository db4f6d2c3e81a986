//! The embedded default: Postgres, local files, a token issuer and a sample catalog on one machine. It only composes what
//! `serve` uses.

mod certificate;
pub mod issuer;
pub mod postgres;
pub mod sample;
mod scratch;
mod secrets;
mod stack;

pub use certificate::ThrowAwayCertificate;
pub use scratch::ScratchFolder;
pub use stack::{Options, Stack};
