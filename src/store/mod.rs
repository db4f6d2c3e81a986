//! Every SQL statement. A function that changes or returns a resource for a caller requires the proof that the guard
//! made. A change is one statement or one transaction; a read may follow it. Connections are used only through
//! `database.rs`. Calls that come often share statements (`batch/`).
//!
//! The session's row is the fence, and Postgres is the clock. A statement that changes a session has a condition on the
//! session's state and time, and changes nothing if the condition is false. One more read then finds out why.

mod audit;
mod batch;
mod batchers;
mod cancel;
mod catalog;
mod catalog_job;
mod commit_range;
mod database;
mod delete_tenant;
mod ending;
mod error;
mod find_document;
mod fitness;
mod free;
mod health;
mod notify;
mod print_job;
mod purge;
mod quotas;
mod range;
mod read_session;
mod reclaim;
mod renew;
mod resolve;
mod session;
mod store_identity;
mod sweep_jobs;
mod tenant_limits;
mod turns;
mod uses;
mod view_range;

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
use tokio::sync::{Mutex, Notify};

use self::{batchers::Batchers, database::Database, error::corrupt, turns::Turns};
use crate::quotas::{Quotas, TenantUsage};

pub use audit::MONTHS_AHEAD;
pub use cancel::CancelOutcome;
pub use catalog::{CatalogError, PrintTask, Printer, PrinterShare, Tenant};
pub use catalog_job::{CatalogPrintJob, DeleteJobOutcome};
pub use delete_tenant::TenantDeletion;
pub use ending::{SessionChange, Swept};
pub use error::Error;
pub use fitness::Unfit;
pub use health::{Backlog, Connections, MissingMigrations, Schema};
pub use notify::Announcements;
pub use print_job::{CancelJobOutcome, CreateJobOutcome, NewPrintJob, PrintJob, StartOutcome};
pub use purge::PURGE_BATCH;
pub use range::{Committed, NewRange, StoredPiece};
pub use reclaim::{CLAIM_BATCH, Reclaim};
pub use resolve::{FoundDocument, FoundPrinter, FoundSession, Purpose, Wanted};
pub use session::{CreateOutcome, Created};
pub use store_identity::replace_object_store;
pub use sweep_jobs::{JOB_BATCH, Retention, SweptJobs};

/// The schema.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// The state of every upload, in Postgres.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    batchers: Arc<Batchers>,
    /// The connection of the readiness probe. It is not in the pool, so that a probe never waits for calls.
    probe: Arc<Mutex<Option<PgConnection>>>,
    /// What each tenant holds, for its limits.
    tenant_usage: Arc<TenantUsage>,
    /// Wakes creates that wait for a count of their tenant, whenever one has ended.
    tenant_counted: Arc<Notify>,
    /// Who may create something with a limit next.
    turns: Arc<Turns>,
    terms: Terms,
}

/// The limits of the statements that calls share.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// How many calls share one statement. With 1, none do.
    pub size: usize,
    /// How many calls of a kind may wait for their statement.
    pub queue: usize,
}

/// The durations and limits that are bound to statements.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How long a session lives without a committed range.
    pub idle_timeout: Duration,
    /// How long a session lives at most.
    pub session_lifetime: Duration,
    /// How long after a session's end a writer of it may still run. No object is put later.
    pub writer_grace: Duration,
    /// How long a claimed session belongs to one reclaim worker.
    pub reclaim_lease: Duration,
    /// How soon the second reclaim pass follows the first.
    pub second_pass: Duration,
    /// How long the rows of canceled and expired sessions and of deleted jobs are kept.
    pub tombstone_retention: Duration,
    /// How long what was created here is kept.
    pub retention: Retention,
    /// How many pieces a document may have.
    pub max_fragments: u32,
    /// What callers and tenants may use.
    pub quotas: Quotas,
}

impl Store {
    /// A store on the database at `url`. Connects when first used.
    pub fn connect_lazily(url: &str, max_connections: u32, batches: BatchLimits, terms: Terms) -> Result<Self, Error> {
        let database = Database::connect_lazily(url, max_connections)?;
        let batchers = Arc::new(Batchers::new(&database, &terms, batches));
        let (tenant_usage, tenant_counted) = (Arc::default(), Arc::default());
        let (probe, turns) = (Arc::default(), Arc::default());
        Ok(Self { database, batchers, probe, tenant_usage, tenant_counted, turns, terms })
    }

    /// New connections use the address `url`. Open ones stay.
    pub fn use_address(&self, url: &str) -> Result<(), Error> {
        self.database.use_address(url)
    }

    /// Closes every connection, once it is idle.
    pub async fn close(&self) {
        self.batchers.close().await;
        self.database.close().await;
        self.probe.lock().await.take();
    }
}

/// Applies this program's migrations to the database at `url`, or the migrations in `folder`. Migrations of a newer
/// program stay: going back to this one must not fail.
pub async fn migrate(url: &str, folder: Option<&Path>) -> Result<(), MigrateError> {
    let mut connection = PgConnection::connect(url).await?;
    let mut migrator = match folder {
        None => Migrator::with_migrations(MIGRATOR.iter().cloned().collect()),
        Some(folder) => Migrator::new(folder).await?,
    };
    migrator.set_ignore_missing(true).run(&mut connection).await?;
    Ok(connection.close().await?)
}

/// A duration as a bind value. The configuration limits every duration to far less than Postgres can add to a time.
fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

fn system_time(time: OffsetDateTime) -> SystemTime {
    time.into()
}
