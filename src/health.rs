//! What `grpc.health.v1` reports: whether this replica should get calls.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    app_state::AppState,
    proto::{print_catalog_server, print_documents_server, print_jobs_server, upload_sessions_server},
};

/// The services whose health is reported.
const SERVICE_NAMES: [&str; 4] = [
    upload_sessions_server::SERVICE_NAME,
    print_documents_server::SERVICE_NAME,
    print_jobs_server::SERVICE_NAME,
    print_catalog_server::SERVICE_NAME,
];

/// Reports `SERVING` while the database and the object store are those that were meant, until `leaving`. The first
/// report is made when this returns. A database that cannot be reached changes nothing: that takes no replica out.
pub async fn report(health: HealthReporter, app: &AppState, leaving: CancellationToken) -> JoinHandle<()> {
    let (mut unfit, mut mismatch) = (app.store.fitness(), app.blobs.mismatch());
    let is_meant = unfit.borrow_and_update().is_none() && mismatch.borrow_and_update().is_none();
    set(&health, is_meant).await;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = leaving.cancelled() => return set(&health, false).await,
                Ok(()) = unfit.changed() => {}
                Ok(()) = mismatch.changed() => {}
            }
            let is_meant = unfit.borrow_and_update().is_none() && mismatch.borrow_and_update().is_none();
            set(&health, is_meant).await;
        }
    })
}

/// The empty name is that of the program as a whole.
async fn set(health: &HealthReporter, is_serving: bool) {
    let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICE_NAMES.into_iter().chain([""]) {
        health.set_service_status(service, status).await;
    }
}
