//! Replicas tell each other which sessions have ended. It only hurries them: what a replica hears it asks the database for,
//! and what it does not hear it asks for every few seconds.

use sqlx::postgres::PgListener;
use tracing::Span;
use uuid::Uuid;

use super::{Error, Store};
use crate::name::SessionId;

/// The channel that ends are told on.
const CHANNEL: &str = "upload_session_ended";

/// How many sessions one notification names: Postgres takes less than 8,000 bytes, and an id has 37 with its comma.
const IDS_PER_NOTIFICATION: usize = 200;

/// What other replicas tell, and this one too. Dropped, it ends with its connection.
#[derive(Debug)]
pub struct Announcements(PgListener);

impl Store {
    /// Notifies every replica that these sessions have ended. After the commit: inside a transaction, a notification holds a
    /// lock of the whole cluster until the commit is durable.
    pub async fn announce(&self, ended: &[SessionId]) -> Result<(), Error> {
        let payloads: Vec<String> = ended
            .chunks(IDS_PER_NOTIFICATION)
            .map(|ids| ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(","))
            .collect();
        let query =
            sqlx::query!("select pg_notify($1, payload) from unnest($2::text[]) as payload", CHANNEL, &payloads);
        self.database.statement(Span::none(), async |connection| query.fetch_all(connection).await).await?;
        Ok(())
    }

    /// Listens for what replicas announce from now on, on a connection beside those of the pool.
    pub async fn listen(&self) -> Result<Announcements, Error> {
        Ok(Announcements(self.database.listen(CHANNEL).await?))
    }
}

impl Announcements {
    /// Waits for the next sessions that have ended. Fails when the connection is lost.
    pub async fn next(&mut self) -> Result<Vec<SessionId>, Error> {
        let Some(notification) = self.0.try_recv().await? else {
            return Err(sqlx::Error::WorkerCrashed.into());
        };
        let ids = notification.payload().split(',').filter_map(|id| Uuid::try_parse(id).ok());
        Ok(ids.map(SessionId).collect())
    }
}
