//! The catalog that other services push.

mod entries;
mod job_deletion;
