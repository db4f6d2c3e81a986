//! The catalog that other services push. An upsert applies unless its revision is older than the stored one.

use tracing::debug_span;

use super::{Error, Store};
use crate::{name::JobKey, session::CatalogCaller};

/// A tenant, as its owner sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Whether the tenant's callers may use the service.
    pub subscription_active: bool,
    /// The owner's revision.
    pub revision: i64,
}

/// A printer, as its owner sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printer {
    pub printer: String,
    /// The owner's revision.
    pub revision: i64,
}

/// A printer share, as its owner sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrinterShare {
    pub share: String,
    /// The id of the printer that it shares.
    pub printer: String,
    /// The owner's revision.
    pub revision: i64,
}

/// A print task, as its owner sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrintTask {
    /// The job that it works on.
    pub job: JobKey,
    pub task: String,
    /// The application whose trigger started it.
    pub trigger_application: String,
    /// Its processing state, in the stored form.
    pub state: String,
    /// The owner's revision.
    pub revision: i64,
}

/// Why a catalog entry was not stored.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The parent entry does not exist.
    #[error("the {0} above does not exist")]
    ParentNotFound(&'static str),
    /// The job, or its document, exists with other content.
    #[error("the job or its document exists with other content")]
    JobChanged,
    /// The job was deleted.
    #[error("the job was deleted")]
    JobDeleted,
    /// The database failed.
    #[error(transparent)]
    Database(Error),
}

impl From<Error> for CatalogError {
    fn from(error: Error) -> Self {
        match error.violated_constraint() {
            Some("printer_tenant_fkey") => Self::ParentNotFound("tenant"),
            Some("printer_share_printer_fkey" | "print_job_printer_fkey") => Self::ParentNotFound("printer"),
            Some("print_task_job_fkey") => Self::ParentNotFound("print job"),
            Some("print_document_pkey" | "print_document_job_key") => Self::JobChanged,
            _ => Self::Database(error),
        }
    }
}

impl Store {
    /// Creates or updates the tenant; returns what is stored. Changes nothing while the tenant is being deleted.
    pub async fn upsert_tenant(&self, caller: &CatalogCaller, tenant: &Tenant) -> Result<Tenant, CatalogError> {
        let upsert = sqlx::query!(
            "insert into tenant as t (tenant_id, subscription_active, revision) values ($1, $2, $3)
             on conflict (tenant_id) do update
             set subscription_active = excluded.subscription_active, revision = excluded.revision
             where t.revision <= excluded.revision and t.delete_time is null",
            caller.tenant().0,
            tenant.subscription_active,
            tenant.revision,
        );
        let stored = sqlx::query_as!(
            Tenant,
            "select subscription_active, revision from tenant where tenant_id = $1",
            caller.tenant().0
        );
        let upserted = self.database.transaction(debug_span!("store.upsert_tenant"), async |transaction| {
            transaction.statement(async |connection| upsert.execute(connection).await).await?;
            crash_point!("tenant_upsert.before_commit");
            Ok(transaction.statement(async |connection| stored.fetch_one(connection).await).await?)
        });
        upserted.await
    }

    /// Creates or updates a printer; returns what is stored. While the tenant is being deleted, it counts as deleted.
    pub async fn upsert_printer(&self, caller: &CatalogCaller, printer: &Printer) -> Result<Printer, CatalogError> {
        // Keeps the tenant until the printer is stored.
        let tenant = sqlx::query_scalar!(
            "select 1 from tenant where tenant_id = $1 and delete_time is null for key share",
            caller.tenant().0
        );
        let upsert = sqlx::query!(
            "insert into printer as p (tenant_id, printer_id, revision) values ($1, $2, $3)
             on conflict (tenant_id, printer_id) do update set revision = excluded.revision
             where p.revision <= excluded.revision",
            caller.tenant().0,
            printer.printer,
            printer.revision,
        );
        let stored = sqlx::query_as!(
            Printer,
            "select printer_id as printer, revision from printer where tenant_id = $1 and printer_id = $2",
            caller.tenant().0,
            printer.printer,
        );
        let upserted = self.database.transaction(debug_span!("store.upsert_printer"), async |transaction| {
            if transaction.statement(async |connection| tenant.fetch_optional(connection).await).await?.is_none() {
                return Err(CatalogError::ParentNotFound("tenant"));
            }
            transaction.statement(async |connection| upsert.execute(connection).await).await?;
            crash_point!("printer_upsert.before_commit");
            Ok(transaction.statement(async |connection| stored.fetch_one(connection).await).await?)
        });
        upserted.await
    }

    /// Creates or updates a printer share; returns what is stored.
    pub async fn upsert_printer_share(
        &self,
        caller: &CatalogCaller,
        share: &PrinterShare,
    ) -> Result<PrinterShare, CatalogError> {
        let upsert = sqlx::query!(
            "insert into printer_share as s (tenant_id, share_id, printer_id, revision) values ($1, $2, $3, $4)
             on conflict (tenant_id, share_id) do update
             set printer_id = excluded.printer_id, revision = excluded.revision
             where s.revision <= excluded.revision",
            caller.tenant().0,
            share.share,
            share.printer,
            share.revision,
        );
        let stored = sqlx::query_as!(
            PrinterShare,
            "select share_id as share, printer_id as printer, revision from printer_share
             where tenant_id = $1 and share_id = $2",
            caller.tenant().0,
            share.share,
        );
        let upserted = self.database.transaction(debug_span!("store.upsert_printer_share"), async |transaction| {
            transaction.statement(async |connection| upsert.execute(connection).await).await?;
            crash_point!("share_upsert.before_commit");
            Ok(transaction.statement(async |connection| stored.fetch_one(connection).await).await?)
        });
        upserted.await
    }

    /// Creates or updates a print task; returns what is stored.
    pub async fn upsert_print_task(&self, caller: &CatalogCaller, task: &PrintTask) -> Result<PrintTask, CatalogError> {
        let tenant = caller.tenant().0;
        let job = sqlx::query_scalar!(
            "select 1 from print_job
             where tenant_id = $1 and printer_id = $2 and job_id = $3 and delete_time is null
             for share",
            tenant,
            task.job.printer,
            task.job.job,
        );
        let upsert = sqlx::query!(
            "insert into print_task as t
                 (tenant_id, printer_id, job_id, task_id, trigger_application, state, revision)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict (tenant_id, printer_id, job_id, task_id) do update
             set trigger_application = excluded.trigger_application, state = excluded.state,
                 revision = excluded.revision
             where t.revision <= excluded.revision",
            tenant,
            task.job.printer,
            task.job.job,
            task.task,
            task.trigger_application,
            task.state,
            task.revision,
        );
        let stored = sqlx::query!(
            "select trigger_application, state, revision from print_task
             where tenant_id = $1 and printer_id = $2 and job_id = $3 and task_id = $4",
            tenant,
            task.job.printer,
            task.job.job,
            task.task,
        );
        let upserted = self.database.transaction(debug_span!("store.upsert_print_task"), async |transaction| {
            let job = transaction.statement(async |connection| job.fetch_optional(connection).await).await?;
            if job.is_none() {
                return Err(CatalogError::ParentNotFound("print job"));
            }
            transaction.statement(async |connection| upsert.execute(connection).await).await?;
            crash_point!("task_upsert.before_commit");
            Ok(transaction.statement(async |connection| stored.fetch_one(connection).await).await?)
        });
        let stored = upserted.await?;
        Ok(PrintTask {
            trigger_application: stored.trigger_application,
            state: stored.state,
            revision: stored.revision,
            ..task.clone()
        })
    }
}
