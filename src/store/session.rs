//! Creates sessions and reads them.

use sqlx::{PgConnection, postgres::types::PgRange};
use time::OffsetDateTime;
use tracing::{Instrument, Span, debug_span};
use uuid::Uuid;

use super::{
    Error, Store, corrupt, database::Transaction, interval, quotas::Stop, range::byte_ranges,
    read_session::ReadSession, system_time,
};
use crate::{
    name::{DocumentId, DocumentName, JobKey, SessionId},
    quotas::Reached,
    session::{Caller, EndReason, OwnedSession, PermittedDocument, Principal, Properties, State, UploadSession},
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
    /// A new session would exceed a limit.
    LimitReached(Reached),
}

pub(super) struct SessionRow {
    pub(super) session_id: Uuid,
    pub(super) document_id: Uuid,
    pub(super) printer_id: String,
    pub(super) job_id: String,
    pub(super) owner: String,
    pub(super) document_name: String,
    pub(super) content_type: String,
    pub(super) size_bytes: i64,
    pub(super) state: String,
    pub(super) is_overdue: bool,
    pub(super) missing: Vec<PgRange<i64>>,
    pub(super) create_time: OffsetDateTime,
    pub(super) expire_time: OffsetDateTime,
    pub(super) expire_limit: OffsetDateTime,
    pub(super) end_time: Option<OffsetDateTime>,
    pub(super) ended_by: Option<String>,
    pub(super) end_reason: Option<String>,
    pub(super) url_generation: i32,
}

impl Created {
    /// What a caller gets who wants a session with these properties, and finds this one.
    fn of(found: UploadSession, caller: &Caller, wanted: &Properties) -> Self {
        match found.state {
            State::Active if found.owner == caller.principal && found.properties == *wanted => {
                Self::Session(Box::new(found))
            }
            State::Active => Self::OtherActive(found.id),
            _ => Self::AlreadyUploaded,
        }
    }
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
        let create = async {
            let mut expired = None;
            if let Some(reached) = self.tenant_reached(permitted, properties.size_bytes).await? {
                return Ok(CreateOutcome { created: Created::LimitReached(reached), expired });
            }
            loop {
                let opened = match self.open_within_limits(permitted, id, properties, request_id).await {
                    Ok(opened) => opened,
                    Err(Stop::Reached(reached)) => {
                        return Ok(CreateOutcome { created: Created::LimitReached(reached), expired });
                    }
                    Err(Stop::Failed(error)) => return Err(error),
                };
                let Some(session) = opened else {
                    return Ok(CreateOutcome { created: self.why_not_created(permitted).await?, expired });
                };
                if !session.is_overdue {
                    if session.id == id {
                        self.tenant_usage.created(permitted.document().tenant, properties.size_bytes);
                    }
                    let created = Created::of(session, permitted.caller(), properties);
                    return Ok(CreateOutcome { created, expired });
                }
                if self.expire(permitted.document().tenant, session.id).await? {
                    expired = Some(session.id);
                }
            }
        };
        create.instrument(debug_span!("store.create_session")).await
    }

    /// Inserts a session, or finds the document's active or completed one. A row that is found is locked. Its
    /// `expire_time` is prolonged only if the caller owns the session, its properties are the same, and it is not
    /// overdue. `None` if the job is canceled or deleted.
    pub(super) async fn open_session(
        &self,
        transaction: Option<&mut Transaction>,
        permitted: &PermittedDocument,
        id: SessionId,
        properties: &Properties,
        request_id: &str,
    ) -> Result<Option<UploadSession>, Error> {
        let document = permitted.document();
        let query = sqlx::query_as!(
            SessionRow,
            r#"
            with job as materialized (
                -- No session is created while the job is canceled or deleted: those transactions lock the job's row as
                -- well, before they end its session.
                select cancel_time from print_job
                where tenant_id = $1 and printer_id = $11 and job_id = $12 and delete_time is null
                for share
            ), opened as (
                insert into upload_session as s
                    (tenant_id, document_id, session_id, owner, document_name, content_type, size_bytes,
                     create_time, expire_time, expire_limit, sweep_time)
                -- Not the statement's start: it may have waited, while another session was created and ended.
                select $1, $2, $3, $4, $5, $6, $7, time, time + least($8::interval, $9), time + $9,
                       time + least($8::interval, $9)
                from (select clock_timestamp() as time from job where cancel_time is null) clock
                on conflict (tenant_id, document_id) where state in ('active', 'completed') do update
                set expire_time = case
                    when (s.state, s.owner, s.document_name, s.content_type, s.size_bytes)
                       = ('active', excluded.owner, excluded.document_name, excluded.content_type, excluded.size_bytes)
                         and s.expire_time > clock_timestamp()
                    then greatest(s.expire_time, least(clock_timestamp() + $8, s.expire_limit))
                    else s.expire_time end
                returning *
            ), audited as (
                insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
                select $1, session_id, document_id, 'create', $4, 'access-token', $10 from opened where session_id = $3
            )
            select session_id, document_id, $11::text as "printer_id!", $12::text as "job_id!",
                   owner, document_name, content_type, size_bytes, state,
                   state = 'active' and expire_time <= clock_timestamp() as "is_overdue!",
                   array(select r from unnest(int8multirange(int8range(0, size_bytes)) - received) r)
                       as "missing!: Vec<PgRange<i64>>",
                   create_time, expire_time, expire_limit, end_time, ended_by, end_reason, url_generation
            from opened
            "#,
            document.tenant.0,
            document.id.0,
            id.0,
            permitted.caller().principal.to_string(),
            properties.document_name,
            properties.content_type,
            i64::try_from(properties.size_bytes).unwrap_or(i64::MAX),
            interval(self.terms.idle_timeout),
            interval(self.terms.session_lifetime),
            request_id,
            document.job.printer,
            document.job.job,
        );
        let opened = async |connection: &mut PgConnection| query.fetch_optional(connection).await;
        let row = match transaction {
            Some(transaction) => transaction.statement(opened).await?,
            None => {
                let row = self.database.statement(Span::current(), opened).await?;
                crash_point!("create.committed");
                row
            }
        };
        row.map(SessionRow::into_session).transpose()
    }

    /// No session was created: one more read finds out why.
    async fn why_not_created(&self, permitted: &PermittedDocument) -> Result<Created, Error> {
        let document = permitted.document();
        let query = sqlx::query_scalar!(
            r#"select cancel_time is not null as "canceled!" from print_job
               where tenant_id = $1 and printer_id = $2 and job_id = $3 and delete_time is null"#,
            document.tenant.0,
            document.job.printer,
            document.job.job,
        );
        let read = async |connection: &mut PgConnection| query.fetch_optional(connection).await;
        match self.database.statement(Span::current(), read).await? {
            None => Ok(Created::JobDeleted),
            Some(true) => Ok(Created::JobCanceled),
            Some(false) => Err(Error::Impossible("a canceled job is not canceled any more")),
        }
    }

    /// Reads the session, without a lock. `None` if it was purged.
    pub async fn upload_session(&self, owned: &OwnedSession) -> Result<Option<UploadSession>, Error> {
        let read = ReadSession { tenant: owned.tenant(), id: owned.id() };
        let read = self.batchers.read_session.answer(debug_span!("store.upload_session"), read).await?;
        Ok(read.map(|read| read.session))
    }

    /// Reads the document's active or completed session, if there is one.
    pub async fn current_session(&self, permitted: &PermittedDocument) -> Result<Option<UploadSession>, Error> {
        let document = permitted.document();
        let query = sqlx::query_as!(
            SessionRow,
            r#"
            select session_id, document_id, printer_id, job_id, owner, document_name, content_type, size_bytes, state,
                   state = 'active' and expire_time <= now() as "is_overdue!",
                   array(select r from unnest(int8multirange(int8range(0, size_bytes)) - received) r)
                       as "missing!: Vec<PgRange<i64>>",
                   create_time, expire_time, expire_limit, end_time, ended_by, end_reason, url_generation
            from upload_session join print_document using (tenant_id, document_id)
            where tenant_id = $1 and document_id = $2 and state in ('active', 'completed')
            "#,
            document.tenant.0,
            document.id.0,
        );
        let span = debug_span!("store.current_session");
        let row = self.database.statement(span, async |connection| query.fetch_optional(connection).await).await?;
        row.map(SessionRow::into_session).transpose()
    }
}

impl SessionRow {
    pub(super) fn into_session(self) -> Result<UploadSession, Error> {
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
            url_generation: u32::try_from(self.url_generation).map_err(|_| corrupt("url_generation"))?,
        })
    }
}
