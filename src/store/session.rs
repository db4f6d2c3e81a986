//! A session is created, and looked at.

use sqlx::{PgConnection, postgres::types::PgRange};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{InTime, Store, corrupt, interval, range::byte_ranges, system_time};
use crate::{
    name::{DocumentId, DocumentName, JobKey, SessionId, TenantId},
    session::{EndReason, OwnedSession, PermittedDocument, Principal, Properties, State, UploadSession},
};

/// What came of creating a session.
#[derive(Debug)]
pub struct CreateOutcome {
    /// The document's session, or why there is none for the caller.
    pub created: Created,
    /// The document's earlier session, when its time had passed: its writers are to be told.
    pub expired: Option<SessionId>,
}

/// The document's session, or why there is none for the caller.
#[derive(Debug)]
pub enum Created {
    /// A new session, or the caller's active one with the same properties.
    Session(Box<UploadSession>),
    /// Another session is active.
    OtherActive(SessionId),
    /// The document is uploaded already.
    AlreadyUploaded,
    /// The job is canceled.
    JobCanceled,
    /// The job was deleted in the meantime.
    DocumentGone,
}

struct SessionRow {
    session_id: Uuid,
    document_id: Uuid,
    printer_id: String,
    job_id: String,
    owner: String,
    document_name: String,
    content_type: String,
    size_bytes: i64,
    state: String,
    missing: Vec<PgRange<i64>>,
    create_time: OffsetDateTime,
    expire_time: OffsetDateTime,
    expire_limit: OffsetDateTime,
    end_time: Option<OffsetDateTime>,
    ended_by: Option<String>,
    end_reason: Option<String>,
}

/// The row that a create found or made.
struct OpenedRow {
    session_id: Uuid,
    state: String,
    /// Whether its time has passed.
    due: bool,
    /// Whether it is the caller's own upload, unchanged.
    same: bool,
}

impl Store {
    /// Creates the document's session with the id `id`, or finds the caller's active one with the same properties. A due
    /// session of the document is ended first.
    #[tracing::instrument(name = "store.create_session", level = "debug", skip_all)]
    pub async fn create_session(
        &self,
        permitted: &PermittedDocument,
        id: SessionId,
        properties: &Properties,
        request_id: &str,
    ) -> Result<CreateOutcome, sqlx::Error> {
        let document = permitted.document();
        let mut tx = self.pool.begin().in_time().await?;
        // A job that is being canceled or deleted gets no new session: whoever does it locks this row before the sessions.
        let job = sqlx::query_scalar!(
            r#"select cancel_time is not null as "canceled!" from print_job
               where tenant_id = $1 and printer_id = $2 and job_id = $3 and delete_time is null
               for share"#,
            document.tenant.0,
            document.job.printer,
            document.job.job,
        );
        let refused = match job.fetch_optional(&mut *tx).in_time().await? {
            Some(false) => None,
            Some(true) => Some(Created::JobCanceled),
            None => Some(Created::DocumentGone),
        };
        if let Some(created) = refused {
            return Ok(CreateOutcome { created, expired: None });
        }

        let mut opened = self.open_session(&mut tx, permitted, id, properties, request_id).await?;
        let mut expired = None;
        if opened.due && self.expire_session(&mut *tx, document.tenant, SessionId(opened.session_id)).await? {
            expired = Some(SessionId(opened.session_id));
            opened = self.open_session(&mut tx, permitted, id, properties, request_id).await?;
        }
        let session = SessionId(opened.session_id);
        let created = match (opened.state.as_str(), opened.same) {
            ("active", true) => {
                let session = upload_session(&mut *tx, document.tenant, session).await?;
                session.map_or(Created::DocumentGone, |session| Created::Session(Box::new(session)))
            }
            ("active", false) => Created::OtherActive(session),
            _ => Created::AlreadyUploaded,
        };
        tx.commit().in_time().await?;
        Ok(CreateOutcome { created, expired })
    }

    /// Inserts the document's session, or finds the one that is active or completed. On a conflict the row is locked and
    /// shown; only the caller's own, unchanged upload lives on, and only before its time has passed.
    async fn open_session(
        &self,
        connection: &mut PgConnection,
        permitted: &PermittedDocument,
        id: SessionId,
        properties: &Properties,
        request_id: &str,
    ) -> Result<OpenedRow, sqlx::Error> {
        sqlx::query_as!(
            OpenedRow,
            r#"
            with opened as (
                insert into upload_session as s
                    (tenant_id, document_id, session_id, owner, document_name, content_type, size_bytes,
                     expire_time, expire_limit)
                values ($1, $2, $3, $4, $5, $6, $7, now() + least($8::interval, $9), now() + $9)
                on conflict (tenant_id, document_id) where state in ('active', 'completed') do update
                set expire_time = case
                    when (s.state, s.owner, s.document_name, s.content_type, s.size_bytes)
                       = ('active', excluded.owner, excluded.document_name, excluded.content_type, excluded.size_bytes)
                         and s.expire_time > clock_timestamp()
                    then greatest(s.expire_time, least(now() + $8, s.expire_limit))
                    else s.expire_time end
                returning session_id, state, state = 'active' and expire_time <= clock_timestamp() as due, document_id,
                          (owner, document_name, content_type, size_bytes) = ($4, $5, $6, $7) as same
            ), audited as (
                insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
                select $1, session_id, document_id, 'create', $4, 'access-token', $10 from opened where session_id = $3
            )
            select session_id, state, due as "due!", same as "same!" from opened
            "#,
            permitted.document().tenant.0,
            permitted.document().id.0,
            id.0,
            permitted.caller().principal.to_string(),
            properties.document_name,
            properties.content_type,
            i64::try_from(properties.size_bytes).unwrap_or(i64::MAX),
            interval(self.terms.idle_timeout),
            interval(self.terms.session_lifetime),
            request_id,
        )
        .fetch_one(connection)
        .in_time()
        .await
    }

    /// The session. Takes no lock. `None` once it is purged.
    #[tracing::instrument(name = "store.upload_session", level = "debug", skip_all)]
    pub async fn upload_session(&self, owned: &OwnedSession) -> Result<Option<UploadSession>, sqlx::Error> {
        upload_session(&self.pool, owned.tenant(), owned.id()).await
    }

    /// The document's session, active or completed, if there is one.
    #[tracing::instrument(name = "store.current_session", level = "debug", skip_all)]
    pub async fn current_session(&self, permitted: &PermittedDocument) -> Result<Option<UploadSession>, sqlx::Error> {
        let document = permitted.document();
        let id = sqlx::query_scalar!(
            "select session_id from upload_session
             where tenant_id = $1 and document_id = $2 and state in ('active', 'completed')",
            document.tenant.0,
            document.id.0,
        );
        match id.fetch_optional(&self.pool).in_time().await? {
            Some(id) => upload_session(&self.pool, document.tenant, SessionId(id)).await,
            None => Ok(None),
        }
    }
}

async fn upload_session(
    executor: impl sqlx::PgExecutor<'_>,
    tenant: TenantId,
    id: SessionId,
) -> Result<Option<UploadSession>, sqlx::Error> {
    let row = sqlx::query_as!(
        SessionRow,
        r#"
        with session as (
            select *, state = 'active' and expire_time <= now() as due
            from upload_session where tenant_id = $1 and session_id = $2
        )
        select session_id, document_id, printer_id, job_id, owner, document_name, content_type, size_bytes,
               case when due then 'expired' else state end as "state!",
               array(select r from unnest(int8multirange(int8range(0, size_bytes)) - received) r)
                   as "missing!: Vec<PgRange<i64>>",
               create_time, expire_time, expire_limit,
               case when due then expire_time else end_time end as end_time,
               ended_by,
               case when due then 'expired' else end_reason end as end_reason
        from session join print_document using (tenant_id, document_id)
        "#,
        tenant.0,
        id.0,
    )
    .fetch_optional(executor)
    .in_time()
    .await?;
    row.map(SessionRow::into_session).transpose()
}

impl SessionRow {
    fn into_session(self) -> Result<UploadSession, sqlx::Error> {
        let principal = |text: &str, column| Principal::parse(text).ok_or_else(|| corrupt(column));
        let state = State::parse(&self.state).ok_or_else(|| corrupt("upload_session.state"))?;
        let size_bytes = u64::try_from(self.size_bytes).map_err(|_| corrupt("upload_session.size_bytes"))?;
        let missing = byte_ranges(&self.missing)?;
        let missing_bytes: u64 = missing.iter().map(|range| range.len()).sum();
        let end_reason = self
            .end_reason
            .as_deref()
            .map(|reason| EndReason::parse(reason).ok_or_else(|| corrupt("upload_session.end_reason")));
        let document = DocumentName {
            job: JobKey { printer: self.printer_id, job: self.job_id }.into(),
            document: DocumentId(self.document_id),
        };
        Ok(UploadSession {
            id: SessionId(self.session_id),
            document,
            owner: principal(&self.owner, "upload_session.owner")?,
            properties: Properties { document_name: self.document_name, content_type: self.content_type, size_bytes },
            state,
            missing: if state == State::Active { missing } else { Vec::new() },
            received_bytes: size_bytes - missing_bytes,
            create_time: system_time(self.create_time),
            expire_time: system_time(self.expire_time),
            expire_limit: system_time(self.expire_limit),
            end_time: self.end_time.map(system_time),
            ended_by: self.ended_by.map(|by| principal(&by, "upload_session.ended_by")).transpose()?,
            end_reason: end_reason.transpose()?,
        })
    }
}
