//! Every SQL statement. Functions that change or return a resource for a caller demand the proof that the interceptor made.
//! A change is one statement or one transaction; a read may follow it. `database.rs` is the only way to a connection.
//!
//! The session's row is the fence, and Postgres is the clock: a statement that changes a session names the state and the
//! time it needs, and changes nothing when they are gone. One more read shows why nothing was changed.

mod catalog;
mod catalog_job;
mod database;
mod ending;
mod error;
mod health;
mod notify;
mod print_job;
mod purge;
mod range;
mod reclaim;
mod resolve;
mod session;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sqlx::{
    Connection, PgConnection,
    migrate::{MigrateError, Migrator},
    postgres::types::PgInterval,
};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use self::{database::Database, error::corrupt};

pub use catalog::{CatalogError, PrintTask, Printer, PrinterShare, Tenant};
pub use catalog_job::{CatalogPrintJob, DeleteJobOutcome};
pub use ending::{CancelOutcome, EXPIRE_BATCH};
pub use error::Error;
pub use health::{Backlog, Connections, Schema};
pub use notify::Announcements;
pub use print_job::{CancelJobOutcome, CreateJobOutcome, PrintJob, StartOutcome};
pub use range::{Committed, NewRange, StoredPiece};
pub use reclaim::Reclaim;
pub use resolve::{FoundDocument, FoundPrinter, FoundSession};
pub use session::{CreateOutcome, Created};

/// The schema.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// The state of every upload, in Postgres.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    /// Beside the pool: who asks whether the database is there does not wait for calls that use it.
    probe: Arc<Mutex<Option<PgConnection>>>,
    terms: Terms,
}

/// The durations and limits that statements are bound with.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How long a session lives without a committed range.
    pub idle_timeout: Duration,
    /// How long a session lives at most.
    pub session_lifetime: Duration,
    /// How long after a session's end a writer of it can be left: no object is put later.
    pub writer_grace: Duration,
    /// How long a worker that reclaims a session's bytes has it for itself.
    pub reclaim_lease: Duration,
    /// How soon after the first pass of reclaiming the second follows.
    pub second_pass: Duration,
    /// How long ended sessions stay visible.
    pub tombstone_retention: Duration,
    /// How many fragments a document may have.
    pub max_fragments: u32,
}

impl Store {
    /// A store on the database at `url`. Connects when first used.
    pub fn connect_lazily(url: &str, max_connections: u32, terms: Terms) -> Result<Self, Error> {
        Ok(Self { database: Database::connect_lazily(url, max_connections)?, probe: Arc::default(), terms })
    }

    /// Closes every connection, once it is idle.
    pub async fn close(&self) {
        self.database.close().await;
        self.probe.lock().await.take();
    }
}

/// Brings the database at `url` to this program's schema, or to that of the migrations in a folder.
pub async fn migrate(url: &str, folder: Option<&Path>) -> Result<(), MigrateError> {
    let mut connection = PgConnection::connect(url).await?;
    match folder {
        None => MIGRATOR.run(&mut connection).await?,
        Some(folder) => Migrator::new(folder).await?.run(&mut connection).await?,
    }
    Ok(connection.close().await?)
}

/// A duration as a bind value. The configuration keeps every duration far below what Postgres can add to a time.
fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

fn system_time(time: OffsetDateTime) -> SystemTime {
    time.into()
}
