//! The error of the store.

use std::{fmt::Display, sync::Arc};

use metrics::counter;

use super::Unfit;
use crate::telemetry::meters;

/// Why the database could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The driver or Postgres reported a failure.
    #[error(transparent)]
    Driver(sqlx::Error),
    /// A statement took too long. Its outcome is unknown: it may have run, or may still run.
    #[error("the database does not answer")]
    NoAnswer,
    /// The database must not be used as it is.
    #[error(transparent)]
    Unfit(Unfit),
    /// No connection became free, and none could be opened, in time.
    #[error("no connection to the database was free in time")]
    NoConnection,
    /// Too many calls of this kind wait for the database.
    #[error("too many calls wait for the database")]
    TooManyWaiting,
    /// The statement for this call and others has failed. Its outcome is unknown.
    #[error(transparent)]
    BatchFailed(Arc<Error>),
    /// A stored value that this program never writes.
    #[error("column {column} of table {table} holds a value that is not one of its domain, in row {row}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column, or what is computed from it.
        column: &'static str,
        /// The row's key.
        row: String,
    },
    /// The database is in a state that its constraints and this program's statements never produce.
    #[error("impossible: {0}")]
    Impossible(&'static str),
}

impl Error {
    /// Counts that no connection was free in time.
    pub(super) fn no_connection() -> Self {
        counter!(meters::DATABASE_TIMEOUTS, "kind" => meters::KIND_CONNECTION).increment(1);
        Self::NoConnection
    }

    /// Counts that no batch began in time: those before it hang.
    pub(super) fn no_batch() -> Self {
        counter!(meters::DATABASE_TIMEOUTS, "kind" => meters::KIND_BATCH).increment(1);
        Self::NoConnection
    }

    /// Counts that a statement took too long.
    pub(super) fn no_answer() -> Self {
        counter!(meters::DATABASE_TIMEOUTS, "kind" => meters::KIND_ANSWER).increment(1);
        Self::NoAnswer
    }

    /// Whether a retry may succeed: the database cannot be reached, refuses the login, is starting or stopping, has no
    /// resources left, canceled the statement, or aborted one of two conflicting transactions.
    pub fn is_transient(&self) -> bool {
        const TRANSIENT_CLASSES: [&str; 7] = ["08", "28", "3D", "40", "53", "57", "58"];
        // A read-only database server, and a transaction that was idle for too long.
        const TRANSIENT_CODES: [&str; 2] = ["25006", "25P03"];
        match self {
            Self::NoAnswer | Self::NoConnection | Self::TooManyWaiting | Self::Unfit(_) => true,
            Self::BatchFailed(error) => error.is_transient(),
            Self::Corrupt { .. } | Self::Impossible(_) => false,
            Self::Driver(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => true,
            Self::Driver(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed) => true,
            Self::Driver(sqlx::Error::Database(error)) => error.code().is_some_and(|code| {
                TRANSIENT_CODES.contains(&&*code) || TRANSIENT_CLASSES.iter().any(|class| code.starts_with(class))
            }),
            Self::Driver(_) => false,
        }
    }

    /// Whether the printer of a new job was removed after the guard had found it.
    pub fn is_printer_missing(&self) -> bool {
        self.violated_constraint() == Some("print_job_printer_fkey")
    }

    /// Whether the connection was lost before the statement was answered.
    pub(super) fn is_lost_connection(&self) -> bool {
        matches!(self, Self::Driver(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)))
    }

    /// The constraint that a statement violated.
    pub(super) fn violated_constraint(&self) -> Option<&str> {
        match self {
            Self::Driver(error) => error.as_database_error()?.constraint(),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::no_connection(),
            error => Self::Driver(error),
        }
    }
}

/// The error for a stored value that this program never writes.
pub(super) fn corrupt(table: &'static str, column: &'static str, row: impl Display) -> Error {
    Error::Corrupt { table, column, row: row.to_string() }
}
