//! Compares the identity of the object store with the one that the database names, so that a replica never takes the
//! folder of a volume that is not mounted, or another bucket, for a store that has lost its bytes.
//!
//! The first `serve` on a database adopts its store. After that only `print-upload store adopt` changes it. While a
//! store is another one, `blobs` reads, puts and drops nothing in it, and the replica is not ready.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    app_state::AppState,
    blobs::{self, Blobs},
    repeat::repeat,
    store::{self, Store},
};

/// How often a replica compares. It limits how long a change of the database's store goes unnoticed. The volume of a
/// folder is checked whenever it is used.
const INTERVAL: Duration = Duration::from_secs(5);

/// Why the identities could not be compared, or that they differ.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A call to the database failed.
    #[error(transparent)]
    Database(#[from] store::Error),
    /// A call to the object store failed, or it is another one.
    #[error(transparent)]
    Blobs(#[from] blobs::Error),
}

/// Compares until `shutdown`.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    let app = &app;
    let comparing = repeat(
        "comparing the object store with the one that the database belongs to",
        || compare(&app.store, &app.blobs),
        || sleep(INTERVAL),
    );
    shutdown.run_until_cancelled(comparing).await;
}

/// Fails unless the object store is the one that the database belongs to. If it belongs to none yet, adopts the store.
pub async fn compare(store: &Store, blobs: &Blobs) -> Result<(), CompareError> {
    if !blobs.is_lasting() {
        return Ok(());
    }
    let expected = match store.object_store().await? {
        Some(identity) => identity,
        None => adopt(store, blobs).await?,
    };
    blobs.expect(expected);
    Ok(blobs.confirm_now().await?)
}

/// The store may have an identity: a replica that began to adopt it has died, or it was used with another database.
async fn adopt(store: &Store, blobs: &Blobs) -> Result<uuid::Uuid, CompareError> {
    let own = match blobs.read_identity().await? {
        Some(identity) => identity,
        None => blobs.create_identity().await?,
    };
    let adopted = store.adopt_object_store(own).await?;
    if adopted == own {
        tracing::info!(object_store = %adopted, "the database belongs to this object store from now on");
    }
    Ok(adopted)
}
