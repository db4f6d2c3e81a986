//! `PrintJobs`: create, get, start, cancel.

use std::sync::Arc;

use aws_lc_rs::rand;
use serde_json::{Map, Value};
use tonic::{Request, Response, Status};
use tracing::Instrument;
use uuid::Uuid;

use super::{from_guard, reply, request_id, task_result};
use crate::{
    app_state::AppState,
    error::{Error, Limited},
    name::DocumentId,
    proto::{
        CancelPrintJobRequest, CreatePrintJobRequest, GetPrintJobRequest, PrintJob, StartPrintJobRequest,
        print_jobs_server::PrintJobs,
    },
    session::{PermittedDocument, PermittedPrinter},
    store::{CancelJobOutcome, CreateJobOutcome, NewPrintJob, StartOutcome},
};

/// The largest configuration of a job, in bytes.
const MAX_CONFIGURATION_BYTES: usize = 16 * 1024;

/// The longest id of a request, in characters.
const MAX_REQUEST_ID_CHARACTERS: usize = 64;

/// Job ids are decimal numbers of at most nine digits, as short as people and printers expect.
const JOB_NUMBERS: u64 = 1_000_000_000;

/// How many ids are tried before a printer counts as full.
const JOB_ID_ATTEMPTS: usize = 8;

/// The handlers of `PrintJobs`.
#[derive(Debug)]
pub struct PrintJobsService(pub Arc<AppState>);

#[tonic::async_trait]
impl PrintJobs for PrintJobsService {
    async fn create_print_job(&self, request: Request<CreatePrintJobRequest>) -> Result<Response<PrintJob>, Status> {
        let permitted: PermittedPrinter = from_guard(request.extensions())?;
        let request = request.into_inner();
        let new = NewPrintJob {
            document: DocumentId(Uuid::now_v7()),
            configuration: parse_configuration(request.configuration)?,
            request_id: parse_request_id(request.request_id)?,
        };
        for _ in 0..JOB_ID_ATTEMPTS {
            let job = random_job_id()?;
            match self.0.store.create_print_job(&permitted, &job, &new).await.map_err(Error::from)? {
                CreateJobOutcome::Created(job) => return Ok(Response::new(reply::print_job(&job))),
                CreateJobOutcome::OtherConfiguration => return Err(Error::RequestIdReused.into()),
                CreateJobOutcome::Deleted => return Err(Error::PrintJobDeleted.into()),
                CreateJobOutcome::LimitReached(reached) => return Err(Error::LimitReached(reached).into()),
                CreateJobOutcome::IdTaken => {}
            }
        }
        Err(Error::Internal("no free job id was found".into()).into())
    }

    async fn get_print_job(&self, request: Request<GetPrintJobRequest>) -> Result<Response<PrintJob>, Status> {
        let permitted: PermittedDocument = from_guard(request.extensions())?;
        let job = self.0.store.print_job(&permitted).await.map_err(Error::from)?;
        Ok(Response::new(reply::print_job(&job.ok_or(Error::PrintJobNotFound)?)))
    }

    async fn start_print_job(&self, request: Request<StartPrintJobRequest>) -> Result<Response<PrintJob>, Status> {
        let permitted: PermittedDocument = from_guard(request.extensions())?;
        match self.0.store.start_print_job(&permitted).await.map_err(Error::from)? {
            StartOutcome::Started(job) => Ok(Response::new(reply::print_job(&job))),
            StartOutcome::NotUploaded => Err(Error::DocumentNotUploaded.into()),
            StartOutcome::Canceled => Err(Error::PrintJobCanceled.into()),
            StartOutcome::NoJob => Err(Error::PrintJobNotFound.into()),
        }
    }

    async fn cancel_print_job(&self, request: Request<CancelPrintJobRequest>) -> Result<Response<()>, Status> {
        let app = Arc::clone(&self.0);
        let permitted: PermittedDocument = from_guard(request.extensions())?;
        let request_id = request_id(request.extensions());

        // In its own task: if the caller hangs up, the writers of the ended session must still be notified.
        let cancellation = async move {
            let canceled = app.store.cancel_print_job(&permitted, &request_id).await?;
            crash_point!("job_cancel.committed");
            match canceled {
                CancelJobOutcome::Ended(session, end) => app.announce_end(session, end),
                CancelJobOutcome::NoSession => {}
                CancelJobOutcome::NoJob => return Err(Error::PrintJobNotFound),
            }
            Ok(())
        };
        task_result(tokio::spawn(cancellation.in_current_span()).await)?;
        Ok(Response::new(()))
    }
}

/// Random, because with a counter every creation on a printer would wait for the one before. Callers cannot guess it.
fn random_job_id() -> Result<String, Error> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| Error::Internal("there are no random numbers for a job id".into()))?;
    Ok((u64::from_le_bytes(bytes) % JOB_NUMBERS).to_string())
}

fn parse_request_id(id: String) -> Result<Option<String>, Error> {
    if id.is_empty() {
        return Ok(None);
    }
    if id.len() > MAX_REQUEST_ID_CHARACTERS || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        let problem = format!("must be 1 to {MAX_REQUEST_ID_CHARACTERS} printable ASCII characters without spaces");
        return Err(Error::invalid_field("request_id", problem));
    }
    Ok(Some(id))
}

fn parse_configuration(configuration: String) -> Result<Option<String>, Error> {
    if configuration.is_empty() {
        return Ok(None);
    }
    if configuration.len() > MAX_CONFIGURATION_BYTES {
        let limit = MAX_CONFIGURATION_BYTES as u64;
        return Err(Error::TooLarge { what: Limited::Configuration, limit });
    }
    if serde_json::from_str::<Map<String, Value>>(&configuration).is_err() {
        return Err(Error::invalid_field("configuration", "must be a JSON object"));
    }
    Ok(Some(configuration))
}
