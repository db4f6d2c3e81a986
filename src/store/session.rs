//! Creates sessions and reads them.

use sqlx::{PgConnection, postgres::types::PgRange};
use time::OffsetDateTime;
use tracing::{Span, debug_span};
use uuid::Uuid;

use super::{Error, Store, corrupt, database::Transaction, interval, range::byte_ranges, system_time};
use crate::{
    name::{DocumentId, DocumentName, JobKey, SessionId, TenantId},
    session::{EndReason, OwnedSession, PermittedDocument, Principal, Properties, State, UploadSession},
};

/// The result of creating a session.
#[derive(Debug)]
pub struct CreateOutcome {
    /// The document's session, or why there is none for the caller.
    pub created: Created,
    /// The document's earlier session, if it was overdue and has been expired now. Its writers must be notified.
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
    /// The job was deleted after the guard had resolved it.
    JobDeleted,
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
    is_overdue: bool,
    missing: Vec<PgRange<i64>>,
    create_time: OffsetDateTime,
    expire_time: OffsetDateTime,
    expire_limit: OffsetDateTime,
    end_time: Option<OffsetDateTime>,
    ended_by: Option<String>,
    end_reason: Option<String>,
}

/// The row that [`Store::open_session`] inserted or found.
struct OpenedRow {
    session_id: Uuid,
    state: String,
    is_overdue: bool,
    /// Whether the caller owns it, and it has the same properties.
    is_same: bool,
}

impl Store {
    /// Creates a session of the document with the id `id`, or finds the caller's active one with the same properties.
    /// If the document has an overdue session, that one is expired first.
    pub async fn create_session(
        &self,
        permitted: &PermittedDocument,
        id: SessionId,
        properties: &Properties,
        request_id: &str,
    ) -> Result<CreateOutcome, Error> {
        let created = self.database.transaction(debug_span!("store.create_session"), async |transaction| {
            self.create_session_in(transaction, permitted, id, properties, request_id).await
        });
        created.await
    }

    async fn create_session_in(
        &self,
        transaction: &mut Transaction,
        permitted: &PermittedDocument,
        id: SessionId,
        properties: &Properties,
        request_id: &str,
    ) -> Result<CreateOutcome, Error> {
        let document = permitted.document();
        // No session is created while the job is canceled or deleted: those transactions lock the job's row as well,
        // before they end its session.
        let job = sqlx::query_scalar!(
            r#"select cancel_time is not null as "canceled!" from print_job
               where tenant_id = $1 and printer_id = $2 and job_id = $3 and delete_time is null
               for share"#,
            document.tenant.0,
            document.job.printer,
            document.job.job,
        );
        let refused = match transaction.statement(async |connection| job.fetch_optional(connection).await).await? {
            Some(false) => None,
            Some(true) => Some(Created::JobCanceled),
            None => Some(Created::JobDeleted),
        };
        if let Some(created) = refused {
            return Ok(CreateOutcome { created, expired: None });
        }

        let mut opened = self.open_session(transaction, permitted, id, properties, request_id).await?;
        let mut expired = None;
        if opened.is_overdue {
            let overdue = [(document.tenant, SessionId(opened.session_id))];
            let end = async |connection: &mut PgConnection| self.end_sessions(connection, &overdue, None).await;
            if let [(session, _)] = transaction.statement(end).await?[..] {
                expired = Some(session);
                opened = self.open_session(transaction, permitted, id, properties, request_id).await?;
            }
        }
        let session = SessionId(opened.session_id);
        let created = match (opened.state.as_str(), opened.is_same) {
            ("active", true) => {
                let read =
                    async |connection: &mut PgConnection| session_row(connection, document.tenant, session).await;
                let session = transaction.statement(read).await?.map(SessionRow::into_session).transpose()?;
                session.map_or(Created::JobDeleted, |session| Created::Session(Box::new(session)))
            }
            ("active", false) => Created::OtherActive(session),
            _ => Created::AlreadyUploaded,
        };
        Ok(CreateOutcome { created, expired })
    }

    /// Inserts a session, or finds the document's active or completed one. A row that is found is locked. Its
    /// `expire_time` is prolonged only if the caller owns the session, its properties are the same, and it is not
    /// overdue.
    async fn open_session(
        &self,
        transaction: &mut Transaction,
        permitted: &PermittedDocument,
        id: SessionId,
        properties: &Properties,
        request_id: &str,
    ) -> Result<OpenedRow, Error> {
        let query = sqlx::query_as!(
            OpenedRow,
            r#"
            with opened as (
                insert into upload_session as s
                    (tenant_id, document_id, session_id, owner, document_name, content_type, size_bytes,
                     create_time, expire_time, expire_limit)
                -- Not the transaction's start: it may have waited, while another session was created and ended.
                select $1, $2, $3, $4, $5, $6, $7, time, time + least($8::interval, $9), time + $9
                from (select clock_timestamp() as time) clock
                on conflict (tenant_id, document_id) where state in ('active', 'completed') do update
                set expire_time = case
                    when (s.state, s.owner, s.document_name, s.content_type, s.size_bytes)
                       = ('active', excluded.owner, excluded.document_name, excluded.content_type, excluded.size_bytes)
                         and s.expire_time > clock_timestamp()
                    then greatest(s.expire_time, least(clock_timestamp() + $8, s.expire_limit))
                    else s.expire_time end
                returning session_id, state, document_id,
                          state = 'active' and expire_time <= clock_timestamp() as is_overdue,
                          (owner, document_name, content_type, size_bytes) = ($4, $5, $6, $7) as is_same
            ), audited as (
                insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
                select $1, session_id, document_id, 'create', $4, 'access-token', $10 from opened where session_id = $3
            )
            select session_id, state, is_overdue as "is_overdue!", is_same as "is_same!" from opened
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
        );
        let opened = transaction.statement(async |connection| query.fetch_one(connection).await).await?;
        crash_point!("create.before_commit");
        Ok(opened)
    }

    /// Reads the session, without a lock. `None` if it was purged.
    pub async fn upload_session(&self, owned: &OwnedSession) -> Result<Option<UploadSession>, Error> {
        self.session(debug_span!("store.upload_session"), owned.tenant(), owned.id()).await
    }

    /// Reads the document's active or completed session, if there is one.
    pub async fn current_session(&self, permitted: &PermittedDocument) -> Result<Option<UploadSession>, Error> {
        let document = permitted.document();
        let query = sqlx::query_scalar!(
            "select session_id from upload_session
             where tenant_id = $1 and document_id = $2 and state in ('active', 'completed')",
            document.tenant.0,
            document.id.0,
        );
        let span = debug_span!("store.current_session");
        let id = self.database.statement(span.clone(), async |connection| query.fetch_optional(connection).await);
        match id.await? {
            Some(id) => self.session(span, document.tenant, SessionId(id)).await,
            None => Ok(None),
        }
    }

    async fn session(&self, operation: Span, tenant: TenantId, id: SessionId) -> Result<Option<UploadSession>, Error> {
        let row = self.database.statement(operation, async |connection| session_row(connection, tenant, id).await);
        row.await?.map(SessionRow::into_session).transpose()
    }
}

async fn session_row(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: SessionId,
) -> Result<Option<SessionRow>, sqlx::Error> {
    let query = sqlx::query_as!(
        SessionRow,
        r#"
        select session_id, document_id, printer_id, job_id, owner, document_name, content_type, size_bytes,
               state, state = 'active' and expire_time <= now() as "is_overdue!",
               array(select r from unnest(int8multirange(int8range(0, size_bytes)) - received) r)
                   as "missing!: Vec<PgRange<i64>>",
               create_time, expire_time, expire_limit, end_time, ended_by, end_reason
        from upload_session join print_document using (tenant_id, document_id)
        where tenant_id = $1 and session_id = $2
        "#,
        tenant.0,
        id.0,
    );
    query.fetch_optional(connection).await
}

impl SessionRow {
    fn into_session(self) -> Result<UploadSession, Error> {
        let id = SessionId(self.session_id);
        let corrupt = |column| corrupt("upload_session", column, id);
        let principal = |text: &str, column| Principal::parse(text).ok_or_else(|| corrupt(column));
        let state = State::parse(&self.state).ok_or_else(|| corrupt("state"))?;
        let size_bytes = u64::try_from(self.size_bytes).map_err(|_| corrupt("size_bytes"))?;
        let missing = byte_ranges(&self.missing).ok_or_else(|| corrupt("received"))?;
        let missing_bytes: u64 = missing.iter().map(|range| range.len()).sum();
        let parse_reason = |reason: String| EndReason::parse(&reason).ok_or_else(|| corrupt("end_reason"));
        let document = DocumentName {
            job: JobKey { printer: self.printer_id, job: self.job_id }.into(),
            document: DocumentId(self.document_id),
        };
        Ok(UploadSession {
            id,
            document,
            owner: principal(&self.owner, "owner")?,
            properties: Properties { document_name: self.document_name, content_type: self.content_type, size_bytes },
            state,
            is_overdue: self.is_overdue,
            missing: if state == State::Active { missing } else { Vec::new() },
            received_bytes: size_bytes - missing_bytes,
            create_time: system_time(self.create_time),
            expire_time: system_time(self.expire_time),
            expire_limit: system_time(self.expire_limit),
            end_time: self.end_time.map(system_time),
            ended_by: self.ended_by.map(|by| principal(&by, "ended_by")).transpose()?,
            end_reason: self.end_reason.map(parse_reason).transpose()?,
        })
    }
}
