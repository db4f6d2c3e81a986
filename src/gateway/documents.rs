//! The document of a print job.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{answer::message_and_id, call::GraphCall, error::Error, json, odata, odata::QueryOptions, path::GraphPath};
use crate::proto::{GetPrintDocumentRequest, ListPrintDocumentsRequest};

/// `GET …/documents`: a job has exactly one.
pub async fn list(GraphCall { mut client, path }: GraphCall, options: QueryOptions) -> Result<Response, Error> {
    let request = ListPrintDocumentsRequest { parent: path.job(), ..Default::default() };
    let (list, id) = message_and_id(client.documents.list_print_documents(request).await)?;
    let documents = list.print_documents.iter().map(|document| options.select(json::print_document(document)));
    let shape = json!({
        "@odata.context": odata::context(path.version, &documents_of(&path)),
        "value": documents.collect::<Vec<_>>(),
    });
    Ok((id, Json(shape)).into_response())
}

/// `GET …/documents/{document}`.
pub async fn get(GraphCall { mut client, path }: GraphCall, options: QueryOptions) -> Result<Response, Error> {
    let request = GetPrintDocumentRequest { name: path.document() };
    let (document, id) = message_and_id(client.documents.get_print_document(request).await)?;
    let mut shape = json::print_document(&document);
    shape["@odata.context"] = odata::context(path.version, &format!("{}/$entity", documents_of(&path))).into();
    Ok((id, Json(options.select(shape))).into_response())
}

fn documents_of(path: &GraphPath) -> String {
    format!("print/{}/documents", path.job())
}
