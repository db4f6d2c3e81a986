//! Whether the database is the one that was meant: a primary that can be written to, and that keeps what it commits.
//!
//! Each connection is checked when it is opened. A connection can also turn read-only later: Postgres then refuses its
//! statements with SQLSTATE 25006. After that no connection that is open is used again, because the others were
//! probably opened in the same circumstances.

use std::{
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use sqlx::{PgConnection, Row};
use tokio::{sync::watch, time::Instant};

use super::Error;

/// How often an unfit database is asked again at most. Meanwhile calls fail at once.
const RECHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The SQLSTATE of a statement that writes in a read-only transaction.
const READ_ONLY: &str = "25006";

/// Why a database must not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It replays the log of another server.
    #[error("the database is a standby, and cannot be written to before it is promoted")]
    Standby,
    /// New transactions are read-only.
    #[error("the database is read-only (default_transaction_read_only)")]
    ReadOnly,
    /// It may lose what it has committed, and a cancel with it.
    #[error("the database has synchronous_commit = off, so it could lose a cancel that was answered: turn it on")]
    LosesCommits,
}

/// What is known of the database.
#[derive(Debug, Default)]
pub(super) struct Fitness {
    /// Why the connection that was checked last must not be used.
    unfit: watch::Sender<Option<Unfit>>,
    /// Whether it was ever fit. If it is unfit from the start, `serve` ends with the reason, and need not log it.
    was_fit: AtomicBool,
    /// When the last check began that found it fit.
    fit: Mutex<Option<Instant>>,
    /// Connections that were opened before this moment are not used again.
    given_up: Mutex<Option<Instant>>,
    /// When an unfit database was last asked again. Locked while it is asked, so that one call does it for all.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Fitness {
    /// Reports whether the database is unfit, now and whenever that changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Unfit>> {
        self.unfit.subscribe()
    }

    /// Fails if a connection that was just opened must not be used.
    pub(super) async fn check(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let begun = Instant::now();
        let checked = check(connection).await;
        match &checked {
            Ok(()) => {
                *self.fit.lock() = Some(begun);
                self.set(None);
            }
            Err(Error::Unfit(unfit)) => self.set(Some(*unfit)),
            Err(_) => {}
        }
        checked
    }

    /// Gives up every open connection if the answer to a statement shows that one has turned read-only. A statement that
    /// had begun before the last check shows nothing new: after a failover, some are answered late.
    pub(super) fn observe<T>(&self, begun: Instant, answer: &Result<T, Error>) {
        if let Err(Error::Driver(sqlx::Error::Database(error))) = answer
            && error.code().as_deref() == Some(READ_ONLY)
            && self.fit.lock().is_none_or(|fit| fit < begun)
        {
            *self.given_up.lock() = Some(Instant::now());
            self.set(Some(Unfit::ReadOnly));
        }
    }

    /// Whether a connection that was opened so long ago must not be used again.
    pub(super) fn is_given_up(&self, age: Duration) -> bool {
        self.given_up.lock().is_some_and(|since| age > since.elapsed())
    }

    /// Whether nothing is known against the database.
    pub(super) fn is_fit(&self) -> bool {
        self.current().is_none()
    }

    /// One caller opens a connection to find out whether the database is still unfit, and the others wait for the
    /// result.
    pub(super) async fn recover(&self, connect: impl AsyncFnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let mut asked = self.asked.lock().await;
        let Some(unfit) = self.current() else { return Ok(()) };
        if asked.is_some_and(|asked| asked.elapsed() < RECHECK_INTERVAL) {
            return Err(Error::Unfit(unfit));
        }
        let connected = connect().await;
        *asked = Some(Instant::now());
        connected
    }

    /// Waits until the database is unfit.
    pub(super) async fn wait_until_unfit(&self) -> Unfit {
        let mut changes = self.subscribe();
        loop {
            let current = *changes.borrow_and_update();
            if let Some(unfit) = current {
                return unfit;
            }
            if changes.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }

    fn current(&self) -> Option<Unfit> {
        *self.unfit.borrow()
    }

    fn set(&self, unfit: Option<Unfit>) {
        self.was_fit.fetch_or(unfit.is_none(), Ordering::Relaxed);
        self.unfit.send_if_modified(|current| {
            if *current == unfit {
                return false;
            }
            match unfit {
                Some(unfit) if self.was_fit.load(Ordering::Relaxed) => {
                    tracing::error!("{unfit}: every call that needs the database fails");
                }
                Some(_) => {}
                None => tracing::info!("the database can be used again"),
            }
            *current = unfit;
            true
        });
    }
}

/// Fails if a connection must not be used. It is one simple query, so that it costs one trip.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), Error> {
    let query = sqlx::raw_sql(
        "select pg_is_in_recovery(), current_setting('transaction_read_only')::bool,
                current_setting('synchronous_commit') = 'off'",
    );
    let row = query.fetch_one(connection).await?;
    let (is_standby, is_read_only, loses_commits) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    match (is_standby, is_read_only, loses_commits) {
        (true, _, _) => Err(Error::Unfit(Unfit::Standby)),
        (_, true, _) => Err(Error::Unfit(Unfit::ReadOnly)),
        (_, _, true) => Err(Error::Unfit(Unfit::LosesCommits)),
        _ => Ok(()),
    }
}
