//! The database is lost, or breaks off in the middle of a statement.

pub mod outages;
