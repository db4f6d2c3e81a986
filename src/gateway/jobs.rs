//! Print jobs: create, look, start, cancel.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    Gateway, answer::answered, body::OptionalJson, credential::AccessToken, error::Error, json, odata,
    odata::QueryOptions, path::GraphPath, status,
};
use crate::proto::{
    CancelPrintJobRequest, CreatePrintJobRequest, GetPrintJobRequest, ListPrintDocumentsRequest, StartPrintJobRequest,
};

/// The body of a new job: of a printJob only the configuration may be given ("Create printJob").
#[derive(Deserialize)]
pub struct CreateBody {
    configuration: Option<Box<RawValue>>,
}

/// `POST …/jobs`: a job with its one document, which awaits its upload.
pub async fn create(
    State(gateway): State<Gateway>,
    path: GraphPath,
    AccessToken(credential): AccessToken,
    OptionalJson(body): OptionalJson<CreateBody>,
) -> Result<Response, Error> {
    let configuration = body.and_then(|body| body.configuration);
    let configuration = configuration.map_or_else(String::new, |json| json.get().to_owned());
    let request = CreatePrintJobRequest { parent: path.queue(), configuration };
    let (job, id) = answered(gateway.client(credential).jobs.create_print_job(request).await)?;

    let mut shape = in_context(&path, json::print_job(&job));
    shape["documents"] = Value::Array(vec![json::new_print_document(&job.document)]);
    Ok((status::JOB_CREATED, id, Json(shape)).into_response())
}

/// `GET …/jobs/{job}`, with `$expand=documents` and `$select`.
pub async fn get(
    State(gateway): State<Gateway>,
    path: GraphPath,
    AccessToken(credential): AccessToken,
    options: QueryOptions,
) -> Result<Response, Error> {
    let mut client = gateway.client(credential);
    let (job, id) = answered(client.jobs.get_print_job(GetPrintJobRequest { name: path.job() }).await)?;
    let mut shape = in_context(&path, json::print_job(&job));
    if options.expand_documents {
        let request = ListPrintDocumentsRequest { parent: path.job() };
        let (list, _) = answered(client.documents.list_print_documents(request).await)?;
        shape["documents"] = list.print_documents.iter().map(json::print_document).collect();
    }
    Ok((id, Json(options.select(shape))).into_response())
}

/// `POST …/jobs/{job}/start`: refused while the document is incomplete.
pub async fn start(
    State(gateway): State<Gateway>,
    path: GraphPath,
    AccessToken(credential): AccessToken,
) -> Result<Response, Error> {
    let request = StartPrintJobRequest { name: path.job() };
    let (job, id) = answered(gateway.client(credential).jobs.start_print_job(request).await)?;
    let mut shape = json::print_job_status(&job);
    shape["@odata.context"] = odata::context(path.version, "microsoft.graph.printJobStatus").into();
    Ok((id, Json(shape)).into_response())
}

/// `POST …/jobs/{job}/cancel`: cancels the active upload as well.
pub async fn cancel(
    State(gateway): State<Gateway>,
    path: GraphPath,
    AccessToken(credential): AccessToken,
) -> Result<Response, Error> {
    let request = CancelPrintJobRequest { name: path.job() };
    let ((), id) = answered(gateway.client(credential).jobs.cancel_print_job(request).await)?;
    Ok((status::DELETED, id, ()).into_response())
}

fn in_context(path: &GraphPath, mut job: Value) -> Value {
    job["@odata.context"] = odata::context(path.version, &format!("print/{}/jobs/$entity", path.queue())).into();
    job
}
