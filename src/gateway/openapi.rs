//! The gateway's OpenAPI document. It is written by hand; a test compares it with the routes.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

/// The document, OpenAPI 3.1 in JSON.
pub const DOCUMENT: &str = include_str!("../../docs/openapi.json");

/// `GET /openapi.json`.
pub async fn get() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT).into_response()
}
