//! Every byte: put, read and drop the objects of upload sessions, in any object store.
//!
//! A fragment is one immutable object, `{tenant}/{session}/{object}`. Which bytes of which object are the document, the
//! database alone knows: completing a document copies nothing.

mod fragment;
mod local;

use std::{collections::HashSet, io, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, memory::InMemory, path::Path};
use tokio::{sync::Semaphore, time::timeout};
use url::Url;
use uuid::Uuid;

pub use fragment::Fragment;

use crate::name::{SessionId, TenantId};

/// How many fragments are held in memory at once where a store takes them only whole.
const MAX_BUFFERED_FRAGMENTS: usize = 16;

/// How long a store may take to answer with at most a fragment.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The objects of every upload session.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// The root folder, when the store is the local file system: the one store that shows what is unfinished.
    local: Option<PathBuf>,
    buffers: Arc<Semaphore>,
}

/// The session whose objects are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folder {
    /// The session's tenant.
    pub tenant: TenantId,
    /// The session.
    pub session: SessionId,
}

/// What the object store could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No space is left.
    #[error("the object store is full: {0}")]
    Full(object_store::Error),
    /// An object that the database knows is not there.
    #[error("an object is missing")]
    Missing,
    /// Anything else: it cannot be reached, or does not let us.
    #[error("the object store failed: {0}")]
    Unavailable(object_store::Error),
}

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not one of the supported kinds.
    #[error("{0}: the object store must be file:///an/absolute/folder or memory://")]
    Unsupported(String),
    /// The folder cannot be made or written to.
    #[error("{folder}: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Blobs {
    /// Opens the store at a URL: `file:///folder`, which is made if need be, or `memory://`.
    pub fn open(url: &str) -> Result<Self, OpenError> {
        let unsupported = || OpenError::Unsupported(url.to_owned());
        let parsed = Url::parse(url).map_err(|_| unsupported())?;
        let (store, local): (Arc<dyn ObjectStore>, _) = match parsed.scheme() {
            "memory" => (Arc::new(InMemory::new()), None),
            "file" => {
                let folder = parsed.to_file_path().map_err(|()| unsupported())?;
                let failed = |source| OpenError::Folder { folder: folder.clone(), source };
                local::make_private(&folder).map_err(failed)?;
                let store =
                    LocalFileSystem::new_with_prefix(&folder).map_err(|error| failed(io::Error::other(error)))?;
                (Arc::new(store.with_fsync(true)), Some(folder))
            }
            _ => return Err(unsupported()),
        };
        Ok(Self { store, local, buffers: Arc::new(Semaphore::new(MAX_BUFFERED_FRAGMENTS)) })
    }

    /// Begins a fragment, which nobody sees before it is published.
    pub async fn begin(&self, folder: Folder, object: Uuid) -> Result<Fragment, Error> {
        Fragment::begin(self, folder, object).await
    }

    /// Reads bytes of an object.
    pub async fn read(&self, folder: Folder, object: Uuid, range: Range<u64>) -> Result<Bytes, Error> {
        let path = folder.object(object);
        let read = timeout(READ_TIMEOUT, self.store.get_range(&path, range)).await;
        Ok(read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??)
    }

    /// Drops every object of the session but those in `keep`, unfinished ones included.
    pub async fn drop_all_except(&self, folder: Folder, keep: &HashSet<Uuid>) -> Result<(), Error> {
        if let Some(root) = &self.local {
            return Ok(local::drop_all_except(root, folder, keep).await?);
        }
        let kept = |path: &Path| {
            path.filename().and_then(|name| Uuid::try_parse(name).ok()).is_some_and(|id| keep.contains(&id))
        };
        let mut objects = self.store.list(Some(&folder.path()));
        while let Some(object) = objects.try_next().await? {
            if !kept(&object.location) {
                match self.store.delete(&object.location).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

impl Folder {
    fn path(self) -> Path {
        Path::from_iter([self.tenant.0.to_string(), self.session.0.to_string()])
    }

    fn object(self, object: Uuid) -> Path {
        self.path().join(object.to_string())
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return Self::Missing;
        }
        if is_full(&error) { Self::Full(error) } else { Self::Unavailable(error) }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        object_store::Error::Generic { store: "local", source: error.into() }.into()
    }
}

/// Looks for what the system said at the bottom of an error.
fn is_full(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        }
        cause = error.source();
    }
    false
}
