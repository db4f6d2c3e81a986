//! The database, beside the replicas.

use anyhow::Context;
use sqlx::{AssertSqlSafe, PgPool};

pub(super) struct Database(pub(super) PgPool);

impl Database {
    pub(super) async fn connect(url: &str) -> anyhow::Result<Self> {
        Ok(Self(PgPool::connect(url).await.context("the database")?))
    }

    /// How many migrations are applied.
    pub(super) async fn migrations(&self) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar("select count(*) from _sqlx_migrations where success").fetch_one(&self.0).await?)
    }

    /// Adds a column to every table, and marks that as a migration: a schema that is newer than both programs'.
    pub(super) async fn apply_stand_in(&self) -> anyhow::Result<()> {
        let tables =
            "select tablename::text from pg_tables join pg_class on oid = format('%I.%I', schemaname, tablename)::regclass
             where schemaname = 'public' and tablename <> '_sqlx_migrations' and not relispartition";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&self.0).await?;
        for table in tables {
            let add = format!("alter table {table} add column stand_in text default 'new'");
            sqlx::query(AssertSqlSafe(add)).execute(&self.0).await.context(table)?;
        }
        let applied = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                       select max(version) + 1000, 'stand in', true, '', 0 from _sqlx_migrations";
        sqlx::query(applied).execute(&self.0).await?;
        Ok(())
    }
}
