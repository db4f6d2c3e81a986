//! Print jobs as those who print have them: created, looked at, started, canceled.

use std::time::SystemTime;

use super::{InTime, Store, corrupt, ending::Canceler, system_time};
use crate::{
    name::{DocumentId, JobKey, SessionId},
    session::{Credential, Ended, PermittedDocument, PermittedPrinter, Principal},
};

/// A print job that is not deleted.
#[derive(Debug, Clone)]
pub struct PrintJob {
    /// The job.
    pub key: JobKey,
    /// Its document.
    pub document: DocumentId,
    /// Who created it.
    pub creator: Principal,
    /// When.
    pub create_time: SystemTime,
    /// How to print: a JSON object.
    pub configuration: Option<String>,
    /// Whether it was started.
    pub started: bool,
    /// Whether it was canceled.
    pub canceled: bool,
    /// Whether its document is uploaded.
    pub uploaded: bool,
}

/// What came of starting a job.
#[derive(Debug)]
pub enum StartOutcome {
    /// It is started, now or before.
    Started(PrintJob),
    /// Its document is not uploaded yet.
    NotUploaded,
    /// It is canceled.
    Canceled,
    /// It was deleted.
    Gone,
}

impl Store {
    /// Creates a job with its document on the printer. Nothing when the printer has a job of that id, deleted or not.
    ///
    /// Its revision is 0: any that the catalog's owner sends applies.
    #[tracing::instrument(name = "store.create_print_job", level = "debug", skip_all)]
    pub async fn create_print_job(
        &self,
        permitted: &PermittedPrinter,
        job: &str,
        document: DocumentId,
        configuration: Option<String>,
    ) -> Result<Option<PrintJob>, sqlx::Error> {
        let (printer, creator) = (permitted.printer(), &permitted.caller().principal);
        let create_time = sqlx::query_scalar!(
            "with job as (
                 insert into print_job (tenant_id, printer_id, job_id, created_by, revision, configuration)
                 values ($1, $2, $3, $4, 0, $6)
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
            document.0,
            configuration,
        )
        .fetch_optional(&self.pool)
        .in_time()
        .await?;
        Ok(create_time.map(|create_time| PrintJob {
            key: JobKey { printer: printer.id.clone(), job: job.to_owned() },
            document,
            creator: creator.clone(),
            create_time: system_time(create_time),
            configuration,
            started: false,
            canceled: false,
            uploaded: false,
        }))
    }

    /// The job. `None` once it is deleted.
    #[tracing::instrument(name = "store.print_job", level = "debug", skip_all)]
    pub async fn print_job(&self, permitted: &PermittedDocument) -> Result<Option<PrintJob>, sqlx::Error> {
        let document = permitted.document();
        let row = sqlx::query!(
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
        )
        .fetch_optional(&self.pool)
        .in_time()
        .await?;

        let Some(row) = row else { return Ok(None) };
        Ok(Some(PrintJob {
            key: document.job.clone(),
            document: document.id,
            creator: Principal::parse(&row.created_by).ok_or_else(|| corrupt("print_job.created_by"))?,
            create_time: system_time(row.create_time),
            configuration: row.configuration,
            started: row.started,
            canceled: row.canceled,
            uploaded: row.uploaded,
        }))
    }

    /// Starts the job, if its document is uploaded and it is not canceled.
    #[tracing::instrument(name = "store.start_print_job", level = "debug", skip_all)]
    pub async fn start_print_job(&self, permitted: &PermittedDocument) -> Result<StartOutcome, sqlx::Error> {
        let document = permitted.document();
        let started = sqlx::query!(
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
        )
        .execute(&self.pool)
        .in_time()
        .await?;
        let is_started = started.rows_affected() == 1;
        // Nothing was changed: the same read says why.
        Ok(match self.print_job(permitted).await? {
            Some(job) if is_started => StartOutcome::Started(job),
            Some(job) if job.canceled => StartOutcome::Canceled,
            Some(_) => StartOutcome::NotUploaded,
            None => StartOutcome::Gone,
        })
    }

    /// Cancels the job and its document's active session, in one transaction. Answers whether there is such a job, and the
    /// session that has ended, now or before: its writers are to be told.
    #[tracing::instrument(name = "store.cancel_print_job", level = "debug", skip_all)]
    pub async fn cancel_print_job(
        &self,
        permitted: &PermittedDocument,
        request_id: &str,
    ) -> Result<Option<Option<(SessionId, Ended)>>, sqlx::Error> {
        let document = permitted.document();
        let mut tx = self.pool.begin().in_time().await?;
        // Locks the job: no session of it is created from here on.
        let canceled = sqlx::query!(
            "update print_job set cancel_time = coalesce(cancel_time, now())
             where tenant_id = $1 and printer_id = $2 and job_id = $3 and delete_time is null",
            document.tenant.0,
            document.job.printer,
            document.job.job,
        )
        .execute(&mut *tx)
        .in_time()
        .await?;
        if canceled.rows_affected() == 0 {
            return Ok(None);
        }
        let canceler = Canceler {
            principal: &permitted.caller().principal,
            credential: Credential::AccessToken.as_str(),
            request_id,
            reason: "print-job-canceled",
        };
        let ended = self.end_session_of_job(&mut tx, document.tenant, &document.job, canceler).await?;
        tx.commit().in_time().await?;
        Ok(Some(ended))
    }
}
