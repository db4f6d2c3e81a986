//! Print jobs: create, get, start, cancel.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    answer::message_and_id, body::OptionalJson, call::GraphCall, error::Error, json, odata, odata::QueryOptions,
    path::GraphPath, repeatable::RepeatabilityId, status,
};
use crate::proto::{
    CancelPrintJobRequest, CreatePrintJobRequest, GetPrintJobRequest, ListPrintDocumentsRequest, StartPrintJobRequest,
};

/// The body of a new job. The configuration is the only member of a printJob that a caller may set ("Create printJob").
#[derive(Deserialize)]
pub struct CreateBody {
    configuration: Option<Box<RawValue>>,
}

/// `POST …/jobs`: creates a job with one document that is not uploaded yet.
pub async fn create(
    GraphCall { mut client, path }: GraphCall,
    RepeatabilityId(request_id): RepeatabilityId,
    OptionalJson(body): OptionalJson<CreateBody>,
) -> Result<Response, Error> {
    let configuration = body.and_then(|body| body.configuration);
    let configuration = configuration.map_or_else(String::new, |json| json.get().to_owned());
    let request = CreatePrintJobRequest { parent: path.queue(), configuration, request_id };
    let (job, id) = message_and_id(client.jobs.create_print_job(request).await)?;

    let mut shape = in_context(&path, json::print_job(&job));
    shape["documents"] = Value::Array(vec![json::new_print_document(&job.document)]);
    Ok((status::JOB_CREATED, id, Json(shape)).into_response())
}

/// `GET …/jobs/{job}`, with `$expand=documents` and `$select`.
pub async fn get(GraphCall { mut client, path }: GraphCall, options: QueryOptions) -> Result<Response, Error> {
    let (job, id) = message_and_id(client.jobs.get_print_job(GetPrintJobRequest { name: path.job() }).await)?;
    let mut shape = in_context(&path, json::print_job(&job));
    if options.expand_documents {
        let request = ListPrintDocumentsRequest { parent: path.job(), ..Default::default() };
        let (list, _) = message_and_id(client.documents.list_print_documents(request).await)?;
        shape["documents"] = list.print_documents.iter().map(json::print_document).collect();
    }
    Ok((id, Json(options.select(shape))).into_response())
}

/// `POST …/jobs/{job}/start`: refused while the document is incomplete.
pub async fn start(GraphCall { mut client, path }: GraphCall) -> Result<Response, Error> {
    let request = StartPrintJobRequest { name: path.job() };
    let (job, id) = message_and_id(client.jobs.start_print_job(request).await)?;
    let mut shape = json::print_job_status(&job);
    shape["@odata.context"] = odata::context(path.version, "microsoft.graph.printJobStatus").into();
    Ok((id, Json(shape)).into_response())
}

/// `POST …/jobs/{job}/cancel`: cancels the active upload as well.
pub async fn cancel(GraphCall { mut client, path }: GraphCall) -> Result<Response, Error> {
    let request = CancelPrintJobRequest { name: path.job() };
    let ((), id) = message_and_id(client.jobs.cancel_print_job(request).await)?;
    Ok((status::DELETED, id, ()).into_response())
}

fn in_context(path: &GraphPath, mut job: Value) -> Value {
    job["@odata.context"] = odata::context(path.version, &format!("print/{}/jobs/$entity", path.queue())).into();
    job
}
