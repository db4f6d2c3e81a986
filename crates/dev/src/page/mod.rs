//! The page of `up`: it shows an upload in the browser, and its cancel. Its sources are in `crates/dev/page/`.
//!
//! The browser uploads through the service's own REST paths. What it cannot get there, it gets here: access tokens, and
//! what the object store holds of a session.

mod same_origin;
mod slow_line;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{self, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{
    issuer::TokenIssuer,
    sample::{self, PRINTER, TENANT},
};
use same_origin::Origins;

/// What the page may load, from where, and who may see it.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// The page and what it asks for.
#[derive(Debug)]
pub struct Page {
    issuer: TokenIssuer,
    bytes_folder: PathBuf,
    origins: Arc<Origins>,
}

impl Page {
    /// The page at the REST address, for documents whose bytes are in `bytes_folder`.
    pub fn new(issuer: TokenIssuer, bytes_folder: PathBuf, address: SocketAddr, tls: bool) -> Self {
        Self { issuer, bytes_folder, origins: Arc::new(Origins::of(address, tls)) }
    }

    /// The page's routes beside those of the gateway.
    pub fn beside(self, gateway: Router) -> Router {
        let origins = Arc::clone(&self.origins);
        let for_own_page = Router::new()
            .route("/dev/tokens.json", get(tokens))
            .route("/dev/store/{session}", get(stored_files))
            .route_layer(middleware::from_fn_with_state(Arc::clone(&origins), same_origin::require_own_page))
            .with_state(Arc::new(self));
        Router::new()
            .route("/", file("text/html; charset=utf-8", include_str!("../../page/index.html")))
            .route("/page/style.css", file("text/css; charset=utf-8", include_str!("../../page/style.css")))
            .route("/page/bundle.js", file("text/javascript; charset=utf-8", include_str!("../../page/bundle.js")))
            .route("/page/icon.svg", file("image/svg+xml", include_str!("../../page/icon.svg")))
            .merge(for_own_page)
            .route_layer(middleware::from_fn_with_state(origins, same_origin::require_own_host))
            .route_layer(middleware::from_fn(add_headers))
            .merge(gateway.layer(middleware::from_fn(slow_line::slow)))
    }
}

fn file(content_type: &'static str, text: &'static str) -> MethodRouter {
    get(async move || ([(header::CONTENT_TYPE, content_type)], text))
}

async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// New tokens of the owner and of another user, and the printer to create jobs on.
async fn tokens(State(page): State<Arc<Page>>) -> Result<Json<Value>, Failure> {
    let tokens = sample::tokens(&page.issuer)?;
    let token = |wanted| tokens.iter().find(|(name, _)| *name == wanted).map(|(_, token)| token);
    Ok(Json(json!({"printer": PRINTER, "owner": token("OWNER_TOKEN"), "other": token("OTHER_TOKEN")})))
}

/// The files that the object store holds of a session, with their sizes in bytes.
async fn stored_files(
    State(page): State<Arc<Page>>,
    extract::Path(session): extract::Path<Uuid>,
) -> Result<Json<Value>, Failure> {
    let folder = page.bytes_folder.join(TENANT.to_string()).join(session.to_string());
    let files = spawn_blocking(move || files_in(&folder)).await??;
    Ok(Json(json!({"files": files})))
}

fn files_in(folder: &Path) -> io::Result<Vec<Value>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Files are deleted while they are listed.
        if let Ok(metadata) = entry.metadata() {
            files.push(json!({"name": entry.file_name().to_string_lossy(), "size": metadata.len()}));
        }
    }
    Ok(files)
}

/// An error of this machine. The page prints it as it is.
struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{:#}", self.0)).into_response()
    }
}
