//! Print jobs for their callers: create, get, start, cancel.

use std::time::SystemTime;

use sqlx::PgConnection;
use time::OffsetDateTime;
use tracing::{Instrument, Span, debug_span};

use super::{Error, Store, corrupt, database::Transaction, ending::Canceler, interval, quotas::Stop, system_time};
use crate::{
    name::{DocumentId, JobKey, SessionId},
    quotas::Reached,
    session::{Credential, End, PermittedDocument, PermittedPrinter, Principal},
};

/// A print job that is not deleted.
#[derive(Debug, Clone)]
pub struct PrintJob {
    pub key: JobKey,
    pub document: DocumentId,
    /// The user or application that created it.
    pub creator: Principal,
    pub create_time: SystemTime,
    /// How to print it: a JSON object.
    pub configuration: Option<String>,
    pub started: bool,
    pub canceled: bool,
    /// Whether its document is uploaded.
    pub uploaded: bool,
}

/// What a caller asks for with a new job.
#[derive(Debug, Clone)]
pub struct NewPrintJob {
    pub document: DocumentId,
    /// How to print it: a JSON object.
    pub configuration: Option<String>,
    /// The caller's id of the request. A caller has one job for each on a printer.
    pub request_id: Option<String>,
}

/// The result of creating a job.
#[derive(Debug)]
pub enum CreateJobOutcome {
    /// It was created, now or by an earlier request with the same id.
    Created(PrintJob),
    /// An earlier request with the same id had another configuration.
    OtherConfiguration,
    /// An earlier request with the same id created a job, which was deleted.
    Deleted,
    /// The printer already has a job with that id, which may be deleted.
    IdTaken,
    /// A new job would exceed a limit.
    LimitReached(Reached),
}

/// The result of starting a job.
#[derive(Debug)]
pub enum StartOutcome {
    /// It was started, now or before.
    Started(PrintJob),
    /// Its document is not uploaded yet.
    NotUploaded,
    Canceled,
    /// It was deleted.
    NoJob,
}

/// The result of canceling a job.
#[derive(Debug)]
pub enum CancelJobOutcome {
    /// It is canceled, and this session of it has ended, now or before. Its writers must be notified in both cases.
    Ended(SessionId, End),
    /// It is canceled. It had no session, or a completed one, which stays.
    NoSession,
    /// The job was deleted.
    NoJob,
}

impl Store {
    /// Creates a job with its document on the printer, unless an earlier request with the same id did. Its revision is
    /// 0, so that every later upsert of the catalog's owner applies.
    pub async fn create_print_job(
        &self,
        permitted: &PermittedPrinter,
        job: &str,
        new: &NewPrintJob,
    ) -> Result<CreateJobOutcome, Error> {
        let span = debug_span!("store.create_print_job");
        let created = match self.create_within_limits(permitted, job, new).instrument(span.clone()).await {
            Ok(created) => created,
            Err(Stop::Reached(reached)) => return Ok(CreateJobOutcome::LimitReached(reached)),
            Err(Stop::Failed(error)) => return Err(error),
        };
        let Some(create_time) = created else { return self.explain_conflict(permitted, new).instrument(span).await };
        let (printer, creator) = (permitted.printer(), &permitted.caller().principal);
        Ok(CreateJobOutcome::Created(PrintJob {
            key: JobKey { printer: printer.id.clone(), job: job.to_owned() },
            document: new.document,
            creator: creator.clone(),
            create_time: system_time(create_time),
            configuration: new.configuration.clone(),
            started: false,
            canceled: false,
            uploaded: false,
        }))
    }

    /// Inserts a job with its document. Returns its time; `None` if the printer has a job with this id, or one of an
    /// earlier request with the same id.
    pub(super) async fn insert_print_job(
        &self,
        transaction: Option<&mut Transaction>,
        permitted: &PermittedPrinter,
        job: &str,
        new: &NewPrintJob,
    ) -> Result<Option<OffsetDateTime>, Error> {
        let (printer, creator) = (permitted.printer(), &permitted.caller().principal);
        let query = sqlx::query_scalar!(
            "with job as (
                 insert into print_job
                     (tenant_id, printer_id, job_id, created_by, revision, configuration, request_id, created_here,
                      create_time, sweep_time)
                 -- Not the transaction's start: it may have waited for its turn.
                 values ($1, $2, $3, $4, 0, $6, $7, true, clock_timestamp(), clock_timestamp() + $8)
                 on conflict do nothing
                 returning tenant_id, printer_id, job_id, create_time
             ), document as (
                 insert into print_document (tenant_id, document_id, printer_id, job_id)
                 select tenant_id, $5, printer_id, job_id from job
             )
             select create_time from job",
            printer.tenant.0,
            printer.id,
            job,
            creator.to_string(),
            new.document.0,
            new.configuration,
            new.request_id,
            interval(self.terms.retention.first_look()),
        );
        let insert = async |connection: &mut PgConnection| query.fetch_optional(connection).await;
        match transaction {
            Some(transaction) => transaction.statement(insert).await,
            None => {
                let created = self.database.statement(Span::current(), insert).await?;
                crash_point!("job_create.committed");
                Ok(created)
            }
        }
    }

    /// Finds out why no job was created: an earlier request has the same id, or an earlier job.
    async fn explain_conflict(
        &self,
        permitted: &PermittedPrinter,
        new: &NewPrintJob,
    ) -> Result<CreateJobOutcome, Error> {
        let Some(request_id) = &new.request_id else { return Ok(CreateJobOutcome::IdTaken) };
        let (printer, creator) = (permitted.printer(), &permitted.caller().principal);
        let query = sqlx::query!(
            r#"
            select job_id, d.document_id, create_time, configuration, start_time is not null as "started!",
                   cancel_time is not null as "canceled!", delete_time is not null as "deleted!",
                   exists (
                       select from upload_session s
                       where s.tenant_id = d.tenant_id and s.document_id = d.document_id and s.state = 'completed'
                   ) as "uploaded!"
            from print_job join print_document d using (tenant_id, printer_id, job_id)
            where tenant_id = $1 and printer_id = $2 and created_by = $3 and request_id = $4
            "#,
            printer.tenant.0,
            printer.id,
            creator.to_string(),
            request_id,
        );
        let span = debug_span!("store.repeated_print_job");
        let row = self.database.statement(span, async |connection| query.fetch_optional(connection).await).await?;

        let Some(row) = row else { return Ok(CreateJobOutcome::IdTaken) };
        if row.configuration != new.configuration {
            return Ok(CreateJobOutcome::OtherConfiguration);
        }
        if row.deleted {
            return Ok(CreateJobOutcome::Deleted);
        }
        Ok(CreateJobOutcome::Created(PrintJob {
            key: JobKey { printer: printer.id.clone(), job: row.job_id },
            document: DocumentId(row.document_id),
            creator: creator.clone(),
            create_time: system_time(row.create_time),
            configuration: row.configuration,
            started: row.started,
            canceled: row.canceled,
            uploaded: row.uploaded,
        }))
    }

    /// Reads the job. `None` if it was deleted.
    pub async fn print_job(&self, permitted: &PermittedDocument) -> Result<Option<PrintJob>, Error> {
        let document = permitted.document();
        let query = sqlx::query!(
            r#"
            select created_by as "created_by!", create_time, configuration, start_time is not null as "started!",
                   cancel_time is not null as "canceled!",
                   exists (
                       select from upload_session s
                       where s.tenant_id = $1 and s.document_id = $4 and s.state = 'completed'
                   ) as "uploaded!"
            from print_job
            where tenant_id = $1 and printer_id = $2 and job_id = $3 and delete_time is null
            "#,
            document.tenant.0,
            document.job.printer,
            document.job.job,
            document.id.0,
        );
        let span = debug_span!("store.print_job");
        let row = self.database.statement(span, async |connection| query.fetch_optional(connection).await).await?;

        let Some(row) = row else { return Ok(None) };
        let creator = Principal::parse(&row.created_by);
        Ok(Some(PrintJob {
            key: document.job.clone(),
            document: document.id,
            creator: creator.ok_or_else(|| corrupt("print_job", "created_by", document.name()))?,
            create_time: system_time(row.create_time),
            configuration: row.configuration,
            started: row.started,
            canceled: row.canceled,
            uploaded: row.uploaded,
        }))
    }

    /// Starts the job, if its document is uploaded and it is not canceled.
    pub async fn start_print_job(&self, permitted: &PermittedDocument) -> Result<StartOutcome, Error> {
        let document = permitted.document();
        let query = sqlx::query!(
            "update print_job set start_time = coalesce(start_time, now())
             where tenant_id = $1 and printer_id = $2 and job_id = $3 and delete_time is null and cancel_time is null
               and exists (
                   select from upload_session s
                   where s.tenant_id = $1 and s.document_id = $4 and s.state = 'completed'
               )",
            document.tenant.0,
            document.job.printer,
            document.job.job,
            document.id.0,
        );
        let span = debug_span!("store.start_print_job");
        let started = self.database.statement(span.clone(), async |connection| query.execute(connection).await).await?;
        crash_point!("job_start.committed");
        let is_started = started.rows_affected() == 1;
        // If nothing was changed, this read finds out why.
        Ok(match self.print_job(permitted).instrument(span).await? {
            Some(job) if is_started => StartOutcome::Started(job),
            Some(job) if job.canceled => StartOutcome::Canceled,
            Some(_) => StartOutcome::NotUploaded,
            None => StartOutcome::NoJob,
        })
    }

    /// Cancels the job and its document's active session, in one transaction.
    pub async fn cancel_print_job(
        &self,
        permitted: &PermittedDocument,
        request_id: &str,
    ) -> Result<CancelJobOutcome, Error> {
        let document = permitted.document();
        let canceler = Canceler {
            principal: &permitted.caller().principal,
            credential: Credential::AccessToken.as_str(),
            request_id,
            reason: "print-job-canceled",
            lease: None,
        };
        // Locks the job's row: from here on no session of the job is created.
        let cancel = sqlx::query!(
            "update print_job set cancel_time = coalesce(cancel_time, now())
             where tenant_id = $1 and printer_id = $2 and job_id = $3 and delete_time is null",
            document.tenant.0,
            document.job.printer,
            document.job.job,
        );
        let canceled = self.database.transaction(debug_span!("store.cancel_print_job"), async |transaction| {
            let canceled = transaction.statement(async |connection| cancel.execute(connection).await).await?;
            if canceled.rows_affected() == 0 {
                return Ok(CancelJobOutcome::NoJob);
            }
            let ended = self.end_session_of_job(transaction, document.tenant, &document.job, canceler).await?;
            crash_point!("job_cancel.before_commit");
            Ok(ended.map_or(CancelJobOutcome::NoSession, |(session, end)| CancelJobOutcome::Ended(session, end)))
        });
        canceled.await
    }
}
