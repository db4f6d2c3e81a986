//! The object store that the database belongs to.

use sqlx::PgConnection;
use tracing::Span;
use uuid::Uuid;

use super::{Error, Store, database::Database};

impl Store {
    /// The identity of the object store that the database belongs to. `None` before one was adopted.
    pub async fn object_store(&self) -> Result<Option<Uuid>, Error> {
        let found = self.database.statement(Span::none(), async |connection| find(connection).await).await;
        match found {
            // A database that was never migrated.
            Err(Error::Driver(sqlx::Error::Database(error))) if error.code().as_deref() == Some("42P01") => Ok(None),
            found => found,
        }
    }

    /// Adopts an object store, unless another replica has adopted one. Returns the one that is adopted.
    pub async fn adopt_object_store(&self, identity: Uuid) -> Result<Uuid, Error> {
        let query = sqlx::query!("insert into object_store (store_id) values ($1) on conflict do nothing", identity);
        self.database.statement(Span::none(), async |connection| query.execute(connection).await).await?;
        crash_point!("object_store.adopted");
        self.object_store().await?.ok_or(Error::Impossible("an adopted object store is not there"))
    }
}

/// Makes the database at `url` belong to another object store. Returns the one that it belonged to before.
pub async fn replace_object_store(url: &str, identity: Uuid) -> Result<Option<Uuid>, Error> {
    let database = Database::connect_lazily(url, 1)?;
    let before = database.statement(Span::none(), async |connection| find(connection).await).await?;
    let query = sqlx::query!(
        "insert into object_store (store_id) values ($1)
         on conflict (only_row) do update set store_id = excluded.store_id, adopt_time = now()",
        identity,
    );
    database.statement(Span::none(), async |connection| query.execute(connection).await).await?;
    crash_point!("object_store.adopted");
    database.close().await;
    Ok(before)
}

async fn find(connection: &mut PgConnection) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("select store_id from object_store").fetch_optional(connection).await
}
