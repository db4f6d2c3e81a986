//! What tests read in the database beyond what callers see, and the few rows that they change or lock.

use print_upload::proto::UploadSession;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::App;

/// A row of the audit trail.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct AuditRow {
    pub action: String,
    pub actor: Option<String>,
    pub credential: String,
    pub request_id: Option<String>,
}

/// Progress of reclaiming a session's bytes.
#[derive(Debug, sqlx::FromRow)]
pub struct ReclaimJob {
    pub passes: i32,
    pub attempts: i32,
}

impl App {
    /// The audit trail of a session, oldest first.
    pub async fn audit_of(&self, session: &UploadSession) -> Vec<AuditRow> {
        sqlx::query_as(
            "select action, actor, credential, request_id from audit where session_id = $1 order by audit_id",
        )
        .bind(id_of(session))
        .fetch_all(self.pool())
        .await
        .expect("the audit trail")
    }

    /// The actions in the audit trail of a session.
    pub async fn actions_on(&self, session: &UploadSession) -> Vec<String> {
        self.audit_of(session).await.into_iter().map(|row| row.action).collect()
    }

    /// The queued job that drops a session's bytes. None once it is done.
    pub async fn reclaim_job(&self, session: &UploadSession) -> Option<ReclaimJob> {
        sqlx::query_as("select passes, attempts from reclaim where session_id = $1")
            .bind(id_of(session))
            .fetch_optional(self.pool())
            .await
            .expect("the queue")
    }

    /// Starts the next pass over a session's bytes now and makes it the last, as if the session could have no writer
    /// any more.
    pub async fn make_reclaim_last(&self, session: &UploadSession) {
        self.update_row("update reclaim set due_time = now(), final_time = now() where session_id = $1", session).await;
    }

    /// Changes one row of a session without the service. `$1` is the session's id.
    pub async fn update_row(&self, statement: &'static str, session: &UploadSession) {
        let changed = sqlx::query(statement).bind(id_of(session)).execute(self.pool()).await.expect("a statement");
        assert_eq!(changed.rows_affected(), 1, "{statement}");
    }

    /// The names of the objects in a session's manifest, sorted.
    pub async fn manifest_of(&self, session: &UploadSession) -> Vec<String> {
        let objects: Vec<Uuid> = sqlx::query_scalar("select distinct object_id from fragment where session_id = $1")
            .bind(id_of(session))
            .fetch_all(self.pool())
            .await
            .expect("the manifest");
        let mut names: Vec<String> = objects.iter().map(Uuid::to_string).collect();
        names.sort();
        names
    }

    /// Makes the session expire in a second.
    pub async fn make_expire_soon(&self, session: &UploadSession) {
        let soon = "update upload_session
                    set expire_time = clock_timestamp() + interval '1 s', sweep_time = clock_timestamp() + interval '1 s'
                    where session_id = $1";
        self.update_row(soon, session).await;
    }

    /// Whether the session is past its expiry, and its row has not ended.
    pub async fn is_overdue(&self, session: &UploadSession) -> bool {
        sqlx::query_scalar(
            "select state = 'active' and expire_time <= clock_timestamp() from upload_session where session_id = $1",
        )
        .bind(id_of(session))
        .fetch_one(self.pool())
        .await
        .expect("the session's row")
    }

    /// Keeps the sweeper, and nothing else, from a session while the transaction is open. The sweeper skips rows with
    /// any lock; this lock lets others change the row's state.
    pub async fn keep_from_sweeper(&self, session: &UploadSession) -> Transaction<'static, Postgres> {
        self.hold("select 1 from upload_session where session_id = $1 for key share", session).await
    }

    /// Locks a session's row while the transaction is open.
    pub async fn lock(&self, session: &UploadSession) -> Transaction<'static, Postgres> {
        self.hold("select 1 from upload_session where session_id = $1 for update", session).await
    }

    /// How many statements wait for a lock in this database.
    pub async fn waiting_statements(&self) -> i64 {
        let waiting =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        sqlx::query_scalar(waiting).fetch_one(self.pool()).await.expect("a number")
    }

    /// How many cancels wait for their session's row.
    pub async fn waiting_cancels(&self) -> i64 {
        let waiting = "select count(*) from pg_stat_activity where datname = current_database()
                       and wait_event_type = 'Lock' and query like '%with locked as (%'";
        sqlx::query_scalar(waiting).fetch_one(self.pool()).await.expect("a number")
    }

    async fn hold(&self, statement: &'static str, session: &UploadSession) -> Transaction<'static, Postgres> {
        let mut held = self.pool().begin().await.expect("a transaction");
        sqlx::query(statement).bind(id_of(session)).fetch_one(&mut *held).await.expect("the session's row");
        held
    }
}

fn id_of(session: &UploadSession) -> Uuid {
    session.etag.parse().expect("an id")
}
