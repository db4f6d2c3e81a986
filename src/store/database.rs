//! The way to Postgres. No statement gets there but through [`Database::statement`] and [`Transaction::statement`]: they bound
//! it, and trace it in the span of the operation that it belongs to.

use std::{io, time::Duration};

use sqlx::{
    ConnectOptions, PgConnection, PgPool, Postgres, Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::time::timeout;
use tracing::{Instrument, Span};

use super::{Connections, Error};

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

/// How long a call waits for a connection before it reports that the database is not available.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a connection that is given back may take to report that it is alive. One that is dead without a word would stay in
/// the pool until the system gives it up, which takes a quarter of an hour.
/// Longer than a statement may run: one that was given up ends before. (sqlx then asks once more, without a limit: one that
/// falls silent in that very moment stays all the same.)
const RELEASE_TIMEOUT: Duration = Duration::from_secs(12);

/// A pool of connections.
#[derive(Debug, Clone)]
pub(super) struct Database {
    pool: PgPool,
}

/// A transaction that is open. Dropped before its commit, it is rolled back.
pub(super) struct Transaction(sqlx::Transaction<'static, Postgres>);

impl Database {
    /// The database at `url`. Connects when first used.
    pub(super) fn connect_lazily(url: &str, max_connections: u32) -> Result<Self, Error> {
        let options: PgConnectOptions = url.parse()?;
        let options = options.application_name("print-upload").options(SETTINGS);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_release(|connection, _| Box::pin(is_reusable(connection)));
        Ok(Self { pool: pool.connect_lazy_with(options) })
    }

    /// Runs one statement of an operation, whose span is `Span::none()` for what only polls.
    pub(super) async fn statement<T>(
        &self,
        operation: Span,
        run: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        let answer = async {
            let mut connection = self.pool.acquire().await?;
            run(&mut connection).await
        };
        in_time(answer).instrument(operation).await
    }

    /// Runs an operation in one transaction, which is committed when the operation succeeds and rolled back when it fails.
    pub(super) async fn transaction<T, E: From<Error>>(
        &self,
        operation: Span,
        run: impl AsyncFnOnce(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let committed = async {
            let mut transaction = Transaction(in_time(self.pool.begin()).await?);
            let done = run(&mut transaction).await?;
            in_time(transaction.0.commit()).await?;
            Ok(done)
        };
        committed.instrument(operation).await
    }

    /// A connection beside those of the pool.
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        in_time(self.pool.connect_options().connect()).await
    }

    /// Listens on a channel, on a connection beside those of the pool.
    pub(super) async fn listen(&self, channel: &str) -> Result<PgListener, Error> {
        let own = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
        let own = own.connect_lazy_with((*self.pool.connect_options()).clone());
        let mut listener = in_time(PgListener::connect_with(&own)).await?;
        // A lost connection is an end, not a gap that nobody sees.
        listener.eager_reconnect(false);
        in_time(listener.listen(channel)).await?;
        Ok(listener)
    }

    /// Counts the connections of the pool.
    pub(super) fn connections(&self) -> Connections {
        let (open, idle) = (self.pool.size() as usize, self.pool.num_idle());
        Connections { max: self.pool.options().get_max_connections(), idle, in_use: open.saturating_sub(idle) }
    }

    /// Closes every connection of the pool, once it is idle.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

impl Transaction {
    /// Runs one statement of the transaction.
    pub(super) async fn statement<T>(
        &mut self,
        run: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        in_time(run(&mut self.0)).await
    }
}

/// Waits for an answer of the database as long as it may take: a connection may hang without breaking.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match timeout(ANSWER_TIMEOUT, answer).instrument(statement_span()).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::NoAnswer),
    }
}

/// The span of one statement. What only polls is part of nothing, and would make a trace a second of its own.
fn statement_span() -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::debug_span!("postgres", otel.kind = "client", db.system.name = "postgresql")
}

/// Whether a connection that is given back can be used again: it is alive, and in no transaction. sqlx leaves one open when
/// whoever begins it gives up before `BEGIN` is answered (0.9.0, its issue 4385); the next statement on the connection, a
/// cancel for example, would be answered and then be rolled back with it. In a transaction `now()` is when that began.
async fn is_reusable(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let silent = |_| sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the connection is silent"));
    let asked = sqlx::raw_sql("select now() = statement_timestamp()").fetch_one(connection);
    timeout(RELEASE_TIMEOUT, asked).await.map_err(silent)??.try_get(0)
}
