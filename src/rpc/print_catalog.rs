//! `PrintCatalog`: the entries that other services own and push.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use tracing::Instrument;

use super::{from_guard, reply, request_id, task_result};
use crate::{
    app_state::AppState,
    error::Error,
    name::{self, CatalogEntry, CatalogName, DocumentId},
    proto::{
        CatalogPrintJob, DeletePrintJobRequest, PrintTask, Printer, PrinterShare, Tenant, UpsertPrintJobRequest,
        UpsertPrintTaskRequest, UpsertPrinterRequest, UpsertPrinterShareRequest, UpsertTenantRequest,
        principal::Identity, print_catalog_server::PrintCatalog, print_task,
    },
    session::{self, CatalogCaller, Principal},
    store::{self, CatalogError, DeleteJobOutcome},
};

/// The handlers of `PrintCatalog`.
#[derive(Debug)]
pub struct PrintCatalogService(pub Arc<AppState>);

#[tonic::async_trait]
impl PrintCatalog for PrintCatalogService {
    async fn upsert_tenant(&self, request: Request<UpsertTenantRequest>) -> Result<Response<Tenant>, Status> {
        let caller: CatalogCaller = from_guard(request.extensions())?;
        let sent = required(request.into_inner().tenant, "tenant")?;
        let CatalogEntry::Tenant = entry(&sent.name, "tenant.name")? else {
            return Err(wrong_entry("tenant.name", "tenants/{tenant}").into());
        };
        let revision = revision(sent.revision, "tenant.revision")?;
        let tenant = store::Tenant { subscription_active: sent.subscription_active, revision };
        let stored = self.0.store.upsert_tenant(&caller, &tenant).await.map_err(Error::from)?;
        crash_point!("tenant_upsert.committed");
        let tenant =
            Tenant { name: sent.name, subscription_active: stored.subscription_active, revision: stored.revision };
        Ok(Response::new(tenant))
    }

    async fn upsert_printer(&self, request: Request<UpsertPrinterRequest>) -> Result<Response<Printer>, Status> {
        let caller: CatalogCaller = from_guard(request.extensions())?;
        let sent = required(request.into_inner().printer, "printer")?;
        let CatalogEntry::Printer(printer) = entry(&sent.name, "printer.name")? else {
            return Err(wrong_entry("printer.name", "tenants/{tenant}/printers/{printer}").into());
        };
        let printer = store::Printer { printer, revision: revision(sent.revision, "printer.revision")? };
        let stored = self.0.store.upsert_printer(&caller, &printer).await.map_err(Error::from)?;
        crash_point!("printer_upsert.committed");
        Ok(Response::new(Printer { name: sent.name, revision: stored.revision }))
    }

    async fn upsert_printer_share(
        &self,
        request: Request<UpsertPrinterShareRequest>,
    ) -> Result<Response<PrinterShare>, Status> {
        let caller: CatalogCaller = from_guard(request.extensions())?;
        let sent = required(request.into_inner().printer_share, "printer_share")?;
        let CatalogEntry::Share(share) = entry(&sent.name, "printer_share.name")? else {
            return Err(wrong_entry("printer_share.name", "tenants/{tenant}/shares/{share}").into());
        };
        let share = store::PrinterShare {
            share,
            printer: id(&sent.printer, "printer_share.printer")?,
            revision: revision(sent.revision, "printer_share.revision")?,
        };
        let stored = self.0.store.upsert_printer_share(&caller, &share).await.map_err(Error::from)?;
        crash_point!("share_upsert.committed");
        Ok(Response::new(PrinterShare { name: sent.name, printer: stored.printer, revision: stored.revision }))
    }

    async fn upsert_print_job(
        &self,
        request: Request<UpsertPrintJobRequest>,
    ) -> Result<Response<CatalogPrintJob>, Status> {
        let caller: CatalogCaller = from_guard(request.extensions())?;
        let sent = required(request.into_inner().print_job, "print_job")?;
        let CatalogEntry::Job(key) = entry(&sent.name, "print_job.name")? else {
            return Err(wrong_entry("print_job.name", "tenants/{tenant}/printers/{printer}/jobs/{job}").into());
        };
        let document = name::guid(&sent.document).ok_or_else(|| invalid("print_job.document", "must be a GUID"))?;
        let job = store::CatalogPrintJob {
            key,
            creator: principal(sent.creator.and_then(|creator| creator.identity))?,
            document: DocumentId(document),
            revision: revision(sent.revision, "print_job.revision")?,
        };
        let stored = self.0.store.upsert_print_job(&caller, &job).await.map_err(Error::from)?;
        crash_point!("job_upsert.committed");
        Ok(Response::new(CatalogPrintJob {
            name: sent.name,
            creator: Some(reply::principal(&stored.creator)),
            document: stored.document.0.to_string(),
            revision: stored.revision,
        }))
    }

    async fn upsert_print_task(&self, request: Request<UpsertPrintTaskRequest>) -> Result<Response<PrintTask>, Status> {
        let caller: CatalogCaller = from_guard(request.extensions())?;
        let sent = required(request.into_inner().print_task, "print_task")?;
        let CatalogEntry::Task(job, task) = entry(&sent.name, "print_task.name")? else {
            let form = "tenants/{tenant}/printers/{printer}/jobs/{job}/tasks/{task}";
            return Err(wrong_entry("print_task.name", form).into());
        };
        let task = store::PrintTask {
            job,
            task,
            trigger_application: identity(&sent.trigger_application, "print_task.trigger_application")?,
            state: stored_state(sent.state())?.to_owned(),
            revision: revision(sent.revision, "print_task.revision")?,
        };
        let stored = self.0.store.upsert_print_task(&caller, &task).await.map_err(Error::from)?;
        crash_point!("task_upsert.committed");
        Ok(Response::new(PrintTask {
            name: sent.name,
            trigger_application: stored.trigger_application,
            state: wire_state(&stored.state).into(),
            revision: stored.revision,
        }))
    }

    async fn delete_print_job(&self, request: Request<DeletePrintJobRequest>) -> Result<Response<()>, Status> {
        let app = Arc::clone(&self.0);
        let caller: CatalogCaller = from_guard(request.extensions())?;
        let request_id = request_id(request.extensions());
        let sent = request.into_inner();
        let CatalogEntry::Job(job) = entry(&sent.name, "name")? else {
            return Err(wrong_entry("name", "tenants/{tenant}/printers/{printer}/jobs/{job}").into());
        };
        let revision = revision(sent.revision, "revision")?;

        // In its own task: if the caller hangs up, the writers of the ended session must still be notified.
        let deletion = async move {
            let deleted = app.store.delete_print_job(&caller, &job, revision, &request_id).await?;
            crash_point!("job_delete.committed");
            match deleted {
                DeleteJobOutcome::Ended(session, end) => app.announce_end(session, end),
                // The bytes of a completed session may have to be dropped.
                DeleteJobOutcome::NoSession | DeleteJobOutcome::Outdated => app.claims.wake(),
            }
            Ok(())
        };
        task_result(tokio::spawn(deletion.in_current_span()).await)?;
        Ok(Response::new(()))
    }
}

impl From<CatalogError> for Error {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::ParentNotFound(parent) => Self::ParentNotFound(parent),
            CatalogError::JobChanged => Self::PrintJobChanged,
            CatalogError::JobDeleted => Self::PrintJobDeleted,
            CatalogError::Database(error) => Self::Database(error),
        }
    }
}

fn invalid(field: &'static str, problem: &str) -> Error {
    Error::invalid_field(field, problem)
}

fn wrong_entry(field: &'static str, form: &str) -> Error {
    invalid(field, &format!("must have the form {form}"))
}

fn required<T>(value: Option<T>, field: &'static str) -> Result<T, Error> {
    value.ok_or_else(|| invalid(field, "is required"))
}

fn entry(name: &str, field: &'static str) -> Result<CatalogEntry, Error> {
    CatalogName::parse(name).map(|name| name.entry).map_err(|error| invalid(field, &error.to_string()))
}

fn revision(revision: i64, field: &'static str) -> Result<i64, Error> {
    if revision < 0 { Err(invalid(field, "must not be negative")) } else { Ok(revision) }
}

fn id(text: &str, field: &'static str) -> Result<String, Error> {
    name::id(text).ok_or_else(|| invalid(field, "must be 1 to 128 letters, digits, '-', '.', '_' or '~'"))
}

/// The id of a user or an application.
fn identity(text: &str, field: &'static str) -> Result<String, Error> {
    id(text, field).map(|id| session::identity(&id).unwrap_or(id))
}

fn principal(creator: Option<Identity>) -> Result<Principal, Error> {
    match required(creator, "print_job.creator")? {
        Identity::User(oid) => Ok(Principal::User(identity(&oid, "print_job.creator.user")?)),
        Identity::Application(app) => Ok(Principal::Application(identity(&app, "print_job.creator.application")?)),
    }
}

fn stored_state(state: print_task::State) -> Result<&'static str, Error> {
    match state {
        print_task::State::Unspecified => Err(invalid("print_task.state", "is required")),
        print_task::State::Pending => Ok("pending"),
        print_task::State::Processing => Ok("processing"),
        print_task::State::Completed => Ok("completed"),
        print_task::State::Aborted => Ok("aborted"),
    }
}

fn wire_state(state: &str) -> print_task::State {
    match state {
        "pending" => print_task::State::Pending,
        "processing" => print_task::State::Processing,
        "completed" => print_task::State::Completed,
        "aborted" => print_task::State::Aborted,
        _ => print_task::State::Unspecified,
    }
}
