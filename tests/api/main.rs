//! The service as its callers see it: through the generated client, over a real socket, with real tokens, a real Postgres
//! and real files.

#![allow(clippy::single_range_in_vec_init, reason = "a list of missing ranges may well have one")]

mod bad_bodies;
mod bad_ranges;
mod catalog;
mod create;
mod documents;
mod harness;
mod job_deletion;
mod range_digests;
mod range_limits;
mod ranges;
mod session;
mod writers;
