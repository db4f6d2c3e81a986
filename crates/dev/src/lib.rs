//! Runs the service on one machine, tries it out and tests it: a private Postgres, a token issuer, a sample catalog,
//! and the service that uses them. This crate is a library for tests and the program `print-upload-dev`. It never
//! ships.

mod bench;
mod certificate;
pub mod cli;
mod hostile;
pub mod issuer;
mod page;
pub mod postgres;
mod private_file;
mod process;
mod prove;
pub mod sample;
mod scratch;
mod soak;
mod stack;

pub use certificate::ThrowAwayCertificate;
pub use scratch::ScratchFolder;
pub use stack::{Options, Stack};
