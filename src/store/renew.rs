//! Renews the upload URLs of sessions.

use sqlx::postgres::types::PgRange;
use tracing::debug_span;

use super::{Error, Store, session::SessionRow};
use crate::session::{OwnedSession, UploadSession};

impl Store {
    /// Makes the upload URLs of the session that were signed before worthless: the next ones have another generation.
    /// Returns the session as it is then. Changes nothing, and returns `None`, if the session has ended, is overdue, or
    /// was purged. Waits for a range that is committing.
    pub async fn renew_upload_url(&self, owned: &OwnedSession) -> Result<Option<UploadSession>, Error> {
        let query = sqlx::query_as!(
            SessionRow,
            r#"
            with renewed as (
                update upload_session set url_generation = url_generation + 1
                where tenant_id = $1 and session_id = $2 and state = 'active' and expire_time > clock_timestamp()
                returning *
            )
            select session_id, document_id, printer_id, job_id, owner, document_name, content_type, size_bytes, state,
                   false as "is_overdue!",
                   array(select r from unnest(int8multirange(int8range(0, size_bytes)) - received) r)
                       as "missing!: Vec<PgRange<i64>>",
                   create_time, expire_time, expire_limit, end_time, ended_by, end_reason, url_generation
            from renewed join print_document using (tenant_id, document_id)
            "#,
            owned.tenant().0,
            owned.id().0,
        );
        let span = debug_span!("store.renew_upload_url");
        let row = self.database.statement(span, async |connection| query.fetch_optional(connection).await).await?;
        crash_point!("renew.committed");
        row.map(SessionRow::into_session).transpose()
    }
}
