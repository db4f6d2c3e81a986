//! Replicas notify each other of ended sessions, through Postgres. A notification only saves time: a replica always
//! reads the session's state from the database, at once after a notification, and every few seconds without one.

use sqlx::postgres::PgListener;
use tracing::Span;
use uuid::Uuid;

use super::{Error, Store};
use crate::name::SessionId;

/// The channel of the notifications.
const CHANNEL: &str = "upload_session_ended";

/// How many sessions one notification names. Its payload must be shorter than 8,000 bytes; an id with its comma has 37.
const IDS_PER_NOTIFICATION: usize = 200;

/// The notifications of all replicas, this one included. Dropping it closes its connection.
#[derive(Debug)]
pub struct Announcements(PgListener);

impl Store {
    /// Notifies every replica that these sessions have ended. Call it after the commit: a notification in a transaction
    /// holds a lock of the whole Postgres cluster until the commit is durable.
    pub async fn announce(&self, ended: &[SessionId]) -> Result<(), Error> {
        let payloads: Vec<String> = ended
            .chunks(IDS_PER_NOTIFICATION)
            .map(|ids| ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(","))
            .collect();
        let query =
            sqlx::query!("select pg_notify($1, payload) from unnest($2::text[]) as payload", CHANNEL, &payloads);
        self.database.statement(Span::none(), async |connection| query.fetch_all(connection).await).await?;
        crash_point!("end.announced");
        Ok(())
    }

    /// Listens for the notifications that are sent from now on, with a connection outside the pool.
    pub async fn listen(&self) -> Result<Announcements, Error> {
        Ok(Announcements(self.database.listen(CHANNEL).await?))
    }
}

impl Announcements {
    /// Waits for the next notification, and returns its sessions. Fails if the connection is lost.
    pub async fn next(&mut self) -> Result<Vec<SessionId>, Error> {
        let Some(notification) = self.0.try_recv().await? else {
            return Err(sqlx::Error::WorkerCrashed.into());
        };
        let ids = notification.payload().split(',').filter_map(|id| Uuid::try_parse(id).ok());
        Ok(ids.map(SessionId).collect())
    }
}
