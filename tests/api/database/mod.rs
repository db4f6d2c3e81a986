//! The database does not answer, a connection to it breaks, its schema or its rows are those of another version, or it
//! holds rows that the service never writes.

mod batches;
mod broken_connections;
mod impossible_rows;
mod isolation_level;
mod migrations;
mod outages;
mod plans;
mod schema_versions;

use std::time::Duration;

use tonic::{Code, Status};

use crate::harness::ErrorExt;

pub fn assert_unavailable(what: &str, answer: Result<(), Status>) {
    let error = answer.expect_err(what);
    assert_eq!(error.code_and_reason(), (Code::Unavailable, "DATABASE_UNAVAILABLE".into()), "{what}");
    assert!(error.retry_delay().is_some_and(|delay| delay > Duration::ZERO), "{what}");
}
