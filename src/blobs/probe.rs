//! Checks a store before it is used, with an object in a separate folder.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use uuid::Uuid;

use super::Error;

/// The folder of the object. No tenant has this name.
const FOLDER: &str = "probe";

const CONTENT: &[u8] = b"print-upload";

/// An object that is older was left by a process that died during the check.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// Fails unless an object can be put, read, listed and dropped.
pub async fn check(store: &dyn ObjectStore) -> Result<(), Error> {
    let folder = Path::from(FOLDER);
    let probe = folder.clone().join(Uuid::now_v7().to_string());
    store.put(&probe, CONTENT.into()).await?;
    crash_point!("probe.put");
    let content = store.get(&probe).await?.bytes().await?;
    let listed: Vec<Path> = store.list(Some(&folder)).map_ok(|object| object.location).try_collect().await?;
    store.delete(&probe).await?;
    if content != CONTENT || !listed.contains(&probe) {
        return Err(Error::Missing(probe));
    }
    for abandoned in listed.iter().filter(|path| is_abandoned(path)) {
        match store.delete(abandoned).await {
            // Another replica has dropped it at its start.
            Err(object_store::Error::NotFound { .. }) => {}
            dropped => dropped?,
        }
    }
    Ok(())
}

fn is_abandoned(probe: &Path) -> bool {
    let id = probe.filename().and_then(|name| Uuid::try_parse(name).ok());
    let Some(made) = id.and_then(|id| id.get_timestamp()) else { return false };
    let made = UNIX_EPOCH + Duration::from_secs(made.to_unix().0);
    SystemTime::now().duration_since(made).is_ok_and(|age| age > ABANDONED)
}
