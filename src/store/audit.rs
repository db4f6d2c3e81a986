//! The audit trail is a table for each month. The tables are made ahead of time, and dropped when all their rows are
//! older than the retention. If a table is missing, rows go to a default one: no call fails for that.
//!
//! The functions of the schema change its tables. They run in a transaction with short limits, so that no call that
//! writes to the trail waits long for them: what takes too long is tried again later. One replica at a time does it.

use tracing::Span;

use super::{Error, Store, database::Transaction, interval};

/// How many months have a table before they begin.
pub const MONTHS_AHEAD: i32 = 3;

impl Store {
    /// How many months from the next one on have a table, without a gap.
    pub async fn audit_months_ahead(&self) -> Result<i32, Error> {
        let query = sqlx::query_scalar!(
            r#"
            select coalesce(min(ahead) - 1, 24)::integer as "months!" from generate_series(1, 24) ahead
            where not exists (
                select from audit_tables()
                where coalesce(from_time, '-infinity') <= audit_month(ahead) and audit_month(ahead) < to_time
            )
            "#
        );
        self.database.statement(Span::none(), async |connection| query.fetch_one(connection).await).await
    }

    /// Makes the table of a month; 1 is the next one. Returns whether it did: not if there is one, if the month has
    /// begun, if the default table has rows of it, or if another replica is at it.
    pub async fn add_audit_month(&self, ahead: i32) -> Result<bool, Error> {
        let query = sqlx::query_scalar!(r#"select audit_add_month($1) as "is_added!""#, ahead);
        let added = self.database.transaction(Span::none(), async |transaction| {
            if !begin_change(transaction).await? {
                return Ok(false);
            }
            let is_added = transaction.statement(async |connection| query.fetch_one(connection).await).await?;
            crash_point!("audit_add.before_commit");
            Ok(is_added)
        });
        added.await
    }

    /// Drops one table whose rows are all older than the retention, or some such rows of the default table. Returns
    /// whether there may be more.
    pub async fn drop_old_audit(&self) -> Result<bool, Error> {
        let retention = interval(self.terms.retention.audit);
        let query = sqlx::query_scalar!(r#"select audit_drop_before($1) as "has_more!""#, retention);
        let dropped = self.database.transaction(Span::none(), async |transaction| {
            if !begin_change(transaction).await? {
                return Ok(false);
            }
            let has_more = transaction.statement(async |connection| query.fetch_one(connection).await).await?;
            crash_point!("audit_drop.before_commit");
            Ok(has_more)
        });
        dropped.await
    }
}

/// Limits the time of the transaction. Returns false if another replica changes the tables.
async fn begin_change(transaction: &mut Transaction) -> Result<bool, Error> {
    let query = sqlx::query!(
        r#"
        select set_config('lock_timeout', '250ms', true) as locks, set_config('statement_timeout', '2s', true) as time,
               pg_try_advisory_xact_lock(hashtextextended('print-upload audit', 0)) as "is_first!"
        "#
    );
    Ok(transaction.statement(async |connection| query.fetch_one(connection).await).await?.is_first)
}
