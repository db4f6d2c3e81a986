//! Every SQL statement. Functions that change or show a resource for a caller demand the proof that the interceptor made.
//! A change is one statement or one transaction; a read may follow it.
//!
//! The session's row is the fence, and Postgres is the clock: a statement that changes a session names the state and the
//! time it needs, and changes nothing when they are gone. Why nothing was changed is told by one more read.

mod catalog;
mod catalog_job;
mod ending;
mod health;
mod notify;
mod print_job;
mod purge;
mod range;
mod reclaim;
mod resolve;
mod session;

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sqlx::{
    Connection, PgConnection, PgPool, Row,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions, types::PgInterval},
};
use time::OffsetDateTime;
use tokio::{sync::Mutex, time::timeout};
use tracing::{Instrument, Span};

pub use catalog::{CatalogError, PrintTask, Printer, PrinterShare, Tenant};
pub use catalog_job::CatalogPrintJob;
pub use ending::CancelOutcome;
pub use health::{Backlog, Connections, Schema};
pub use notify::Announcements;
pub use print_job::{PrintJob, StartOutcome};
pub use range::{Committed, NewRange, StoredPiece};
pub use reclaim::{LEASE, Reclaim};
pub use resolve::{FoundDocument, FoundPrinter, FoundSession};
pub use session::{CreateOutcome, Created};

/// The schema.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// What every connection asks of Postgres: that it ends a statement that runs too long, and that it forgets a replica that
/// has fallen silent, whose open transaction would make others wait.
const SETTINGS: [(&str, &str); 4] = [
    ("statement_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("tcp_keepalives_idle", "10s"),
    ("tcp_user_timeout", "20s"),
];

/// How long an answer may take, before the call is given up as one whose outcome is unknown.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a call waits for a connection before it says that the database is gone.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a connection that is given back may take to say that it is alive. One that is dead without a word would hold its
/// place in the pool until the system gives it up, which takes a quarter of an hour.
/// Longer than a statement may run: one that was given up ends before. (sqlx then asks once more, without a limit: one that
/// falls silent in that very moment keeps its place all the same.)
const RELEASE_TIMEOUT: Duration = Duration::from_secs(12);

/// The state of every upload, in Postgres.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
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
    /// How long ended sessions stay visible.
    pub tombstone_retention: Duration,
    /// How many fragments a document may have.
    pub max_fragments: u32,
}

impl Store {
    /// A store on the database at `url`. Connects when first used.
    pub fn connect_lazily(url: &str, max_connections: u32, terms: Terms) -> Result<Self, sqlx::Error> {
        let options: PgConnectOptions = url.parse()?;
        let options = options.application_name("print-upload").options(SETTINGS);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_release(|connection, _| Box::pin(is_reusable(connection)));
        Ok(Self { pool: pool.connect_lazy_with(options), probe: Arc::default(), terms })
    }

    /// Closes every connection, once it is idle.
    pub async fn close(&self) {
        self.pool.close().await;
        self.probe.lock().await.take();
    }
}

/// Whether a connection that is given back can be used again: it is alive, and in no transaction. sqlx leaves one open when
/// whoever begins it gives up before `BEGIN` is answered (0.9.0, its issue 4385); the next statement on the connection, a
/// cancel for example, would be answered and then be rolled back with it. In a transaction `now()` is when that began.
async fn is_reusable(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let silent = |_| sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the connection is silent"));
    let asked = sqlx::raw_sql("select now() = statement_timestamp()").fetch_one(connection);
    timeout(RELEASE_TIMEOUT, asked).await.map_err(silent)??.try_get(0)
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

/// A call to the database that is given up when no answer comes: a connection may hang without breaking.
trait InTime<T>: Future<Output = Result<T, sqlx::Error>> + Sized {
    /// Waits for the answer as long as it may take.
    async fn in_time(self) -> Result<T, sqlx::Error> {
        let given_up = || sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database does not answer"));
        timeout(ANSWER_TIMEOUT, self).instrument(statement()).await.unwrap_or_else(|_| Err(given_up()))
    }
}

impl<T, F: Future<Output = Result<T, sqlx::Error>>> InTime<T> for F {}

/// The span of one statement. What only polls is part of nothing, and would make a trace a second of its own.
fn statement() -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::debug_span!("postgres", otel.kind = "client", db.system.name = "postgresql")
}

/// A duration as a bind value. The configuration keeps every duration far below what Postgres can add to a time.
fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

fn system_time(time: OffsetDateTime) -> SystemTime {
    time.into()
}

/// A stored value that this program never writes.
fn corrupt(column: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(format!("column {column} holds a value that is not one of its domain").into())
}
