//! The connections to Postgres. Every statement for a call or a background task runs in [`Database::statement`] or
//! [`Transaction::statement`]. They limit its time, and trace it as a child of its operation's span.

use std::{sync::Arc, time::Duration};

use metrics::histogram;
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{Instrument, Span};

use super::{Connections, Error, Unfit, fitness::Fitness};
use crate::telemetry::meters;

/// The settings of every connection. The statements lock rows and then judge their newest version, which only this
/// isolation level does; the database, or its role, may have another default.
///
/// With the next four Postgres ends a statement that runs too long, and closes the connection of a replica that no longer
/// responds, because that replica's open transaction would block others.
///
/// Every statement finds its rows by an index. Postgres keeps a plan, and one that was made while a table was small would
/// go on to read all of it once it is large. With the others it looks up each row, whatever it believes about sizes.
const SETTINGS: [(&str, &str); 9] = [
    ("default_transaction_isolation", "read committed"),
    ("statement_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("tcp_keepalives_idle", "10s"),
    ("tcp_user_timeout", "20s"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// How long Postgres may take to answer. After that the outcome of the statement is unknown, and the call fails.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a call waits for a connection, or for its batch to begin, before it reports that the database is not
/// available.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long to wait before connecting is tried again.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(50);

/// How long a connection of a batcher may be idle before it is checked when it is used again: a firewall may have
/// dropped it. The pool checks each connection whenever it is used again.
const CHECK_AFTER: Duration = Duration::from_secs(1);

/// How long that check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the check of a connection that is returned to the pool may take. Without a limit, a dead connection would
/// stay in the pool until the operating system closes it, after about 15 minutes.
///
/// It is longer than a statement may run: a statement whose caller has given up ends before. After this check sqlx
/// makes another one without a limit. A connection that dies between the two still stays in the pool.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(12);

/// A pool of connections.
#[derive(Debug, Clone)]
pub(super) struct Database {
    pool: PgPool,
    fitness: Arc<Fitness>,
}

/// A connection that runs batches.
#[derive(Debug)]
pub(super) struct BatchConnection {
    connection: PgConnection,
    opened: Instant,
    idle_since: Instant,
    fitness: Arc<Fitness>,
}

/// An open transaction. If it is dropped before its commit, it is rolled back.
pub(super) struct Transaction {
    open: sqlx::Transaction<'static, Postgres>,
    fitness: Arc<Fitness>,
}

impl Database {
    /// The database at `url`. Connects when first used.
    pub(super) fn connect_lazily(url: &str, max_connections: u32) -> Result<Self, Error> {
        let options = options(url)?;
        let fitness = Arc::<Fitness>::default();
        let given_up = Arc::clone(&fitness);
        let pool = checking_pool(max_connections, &fitness)
            .before_acquire(move |_, connection| {
                let may_be_used = !given_up.is_given_up(connection.age);
                Box::pin(async move { Ok(may_be_used) })
            })
            .after_release(|connection, _| Box::pin(async { Ok(is_alive(connection, RELEASE_TIMEOUT).await) }));
        Ok(Self { pool: pool.connect_lazy_with(options), fitness })
    }

    /// New connections use the address `url`. Open ones stay.
    pub(super) fn use_address(&self, url: &str) -> Result<(), Error> {
        self.pool.set_connect_options(options(url)?);
        Ok(())
    }

    /// Runs one statement in the span of its operation. For a background task that polls, the span is `Span::none()`.
    pub(super) async fn statement<T>(
        &self,
        operation: Span,
        run: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let answer = async {
            let mut connection = self.acquire().await?;
            Ok::<T, Error>(run(&mut connection).await?)
        };
        // Boxed: the driver's futures have some KiB, and each layer around a call would move them.
        let answer = in_time(Box::pin(answer)).instrument(operation).await;
        self.fitness.observe(begun, &answer);
        answer
    }

    /// Runs an operation in one transaction. It is committed if the operation succeeds, and rolled back if it fails.
    pub(super) async fn transaction<T, E: From<Error>>(
        &self,
        operation: Span,
        run: impl AsyncFnOnce(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let committed = async {
            let mut transaction = Transaction { open: self.begin().await?, fitness: Arc::clone(&self.fitness) };
            let done = run(&mut transaction).await?;
            in_time(transaction.open.commit()).await?;
            Ok(done)
        };
        Box::pin(committed).instrument(operation).await
    }

    /// Begins a transaction, in a task that is never dropped: if its caller gives up before `BEGIN` is answered, sqlx
    /// 0.9.0 returns the connection to the pool with the transaction open (sqlx issue 4385). The next statement on it,
    /// for example a cancel, would then be reported as done and rolled back later.
    async fn begin(&self) -> Result<sqlx::Transaction<'static, Postgres>, Error> {
        self.recover().await?;
        let pool = self.pool.clone();
        let begin = async move { in_time(pool.begin()).await };
        let begun = tokio::spawn(begin.in_current_span()).await;
        begun.unwrap_or_else(|_| Err(Error::Impossible("beginning a transaction panicked")))
    }

    /// Opens a connection for a batcher, outside the pool. It plans each statement once: their look-ups by key need no
    /// plan for each size of a batch.
    pub(super) async fn connect_for_batches(&self) -> Result<BatchConnection, Error> {
        self.recover().await?;
        let connect = async {
            loop {
                let options = (*self.pool.connect_options()).clone();
                match self.open(&options.options([("plan_cache_mode", "force_generic_plan")])).await {
                    Err(error @ Error::Unfit(_)) => return Err(error),
                    // For example while Postgres starts. The pool retries in the same way.
                    Err(error) if error.is_transient() => sleep(RECONNECT_INTERVAL).await,
                    opened => return opened,
                }
            }
        };
        let connection = timeout(ACQUIRE_TIMEOUT, connect).await.map_err(|_| Error::no_connection())??;
        let now = Instant::now();
        Ok(BatchConnection { connection, opened: now, idle_since: now, fitness: Arc::clone(&self.fitness) })
    }

    /// Opens a connection outside the pool.
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        let options = self.pool.connect_options();
        in_time(self.open(&options)).await
    }

    /// Listens on a channel, with a connection outside the pool.
    pub(super) async fn listen(&self, channel: &str) -> Result<PgListener, Error> {
        self.recover().await?;
        let own = checking_pool(1, &self.fitness).connect_lazy_with((*self.pool.connect_options()).clone());
        let mut listener = in_time(PgListener::connect_with(&own)).await?;
        // Report a lost connection: a silent reconnect would lose the notifications in between.
        listener.eager_reconnect(false);
        in_time(listener.listen(channel)).await?;
        Ok(listener)
    }

    /// Reports whether the database is unfit, now and whenever that changes.
    pub(super) fn fitness(&self) -> watch::Receiver<Option<Unfit>> {
        self.fitness.subscribe()
    }

    /// Takes a connection of the pool. Fails at once when the database is found unfit: the pool itself would go on
    /// opening connections for [`ACQUIRE_TIMEOUT`].
    async fn acquire(&self) -> Result<PoolConnection<Postgres>, Error> {
        self.recover().await?;
        let begun = Instant::now();
        let acquired = tokio::select! {
            biased;
            acquired = self.pool.acquire() => acquired.map_err(Error::from),
            unfit = self.fitness.wait_until_unfit() => Err(Error::Unfit(unfit)),
        };
        // Also of those who got none: they have waited longest.
        histogram!(meters::DATABASE_WAIT, "kind" => meters::KIND_CONNECTION).record(begun.elapsed());
        acquired
    }

    /// Returns at once while the database is fit.
    async fn recover(&self) -> Result<(), Error> {
        if self.fitness.is_fit() {
            return Ok(());
        }
        let connect = async || {
            let connected = async { Ok::<_, Error>(self.connect().await?.close().await?) };
            timeout(ACQUIRE_TIMEOUT, connected).await.map_err(|_| Error::no_connection())?
        };
        // Boxed, because it is seldom needed, and a part of the future of every statement.
        Box::pin(self.fitness.recover(connect)).await
    }

    /// Opens a connection, and fails if it must not be used.
    async fn open(&self, options: &PgConnectOptions) -> Result<PgConnection, Error> {
        let mut connection = Box::pin(options.connect()).await?;
        self.fitness.check(&mut connection).await?;
        Ok(connection)
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

impl BatchConnection {
    /// Whether it can be used again. If it was idle for long, asks it.
    pub(super) async fn is_usable(&mut self) -> bool {
        self.fitness.is_fit()
            && !self.fitness.is_given_up(self.opened.elapsed())
            && (self.idle_since.elapsed() < CHECK_AFTER || is_alive(&mut self.connection, CHECK_TIMEOUT).await)
    }

    /// Ends the connection. Postgres logs one that breaks off.
    pub(super) async fn close(self) {
        drop(timeout(CHECK_TIMEOUT, self.connection.close()).await);
    }

    /// Runs one statement, in the current span. After an error the connection must not be used again.
    pub(super) async fn statement<T>(
        &mut self,
        run: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let answer = limited(run(&mut self.connection)).await;
        self.fitness.observe(begun, &answer);
        self.idle_since = Instant::now();
        answer
    }
}

impl Transaction {
    /// Runs one statement of the transaction.
    pub(super) async fn statement<T>(
        &mut self,
        run: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let answer = in_time(run(&mut self.open)).await;
        self.fitness.observe(begun, &answer);
        answer
    }
}

/// The options of a pool whose connections are checked when they are opened.
fn checking_pool(max_connections: u32, fitness: &Arc<Fitness>) -> PgPoolOptions {
    let fitness = Arc::clone(fitness);
    let options = PgPoolOptions::new().max_connections(max_connections).acquire_timeout(ACQUIRE_TIMEOUT);
    options.after_connect(move |connection, _| {
        let fitness = Arc::clone(&fitness);
        Box::pin(async move {
            fitness.check(connection).await.map_err(|error| match error {
                Error::Driver(error) => error,
                error => sqlx::Error::Configuration(error.into()),
            })
        })
    })
}

fn options(url: &str) -> Result<PgConnectOptions, Error> {
    let options: PgConnectOptions = url.parse()?;
    Ok(options.application_name("print-upload").options(SETTINGS))
}

/// Waits for an answer of the database, within a time limit: a connection may hang without breaking.
pub(super) async fn in_time<T, E>(answer: impl Future<Output = Result<T, E>>) -> Result<T, Error>
where
    Error: From<E>,
{
    limited(answer).instrument(statement_span()).await
}

async fn limited<T, E>(answer: impl Future<Output = Result<T, E>>) -> Result<T, Error>
where
    Error: From<E>,
{
    match timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::no_answer()),
    }
}

/// The span of one statement. There is none outside an operation's span: each poll would begin a new trace.
pub(super) fn statement_span() -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::debug_span!("postgres", otel.kind = "client", db.system.name = "postgresql")
}

/// Whether a connection answers in time. It sends no statement.
async fn is_alive(connection: &mut PgConnection, limit: Duration) -> bool {
    matches!(timeout(limit, connection.ping()).await, Ok(Ok(())))
}
