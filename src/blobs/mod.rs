//! The bytes of upload sessions: put, read and drop their objects, in any object store.
//!
//! A fragment is one immutable object, `{tenant}/{session}/{object}`. Only the database knows which bytes of which
//! object are the document: completing a document copies nothing.

mod fragment;
mod identity;
mod local;
mod open;
mod part;
mod probe;
mod spool;

use std::{collections::HashSet, io, ops::Range, path, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tokio::{sync::Semaphore, time::timeout};
use uuid::Uuid;

use self::{identity::Identity, open::Opened};
pub use fragment::{Fragment, PUT_TIMEOUT};
pub use identity::Mismatch;
pub use open::OpenError;

use crate::name::{SessionId, TenantId};

/// How many whole fragments may be in memory at once while they are put. Local files need no such limit.
const MAX_BUFFERED_FRAGMENTS: usize = 16;

/// How long a store may take to read a part of an object, to list, or to pass the check.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The objects of every upload session.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// The root folder, if the store is the local file system: the only store where unfinished objects are visible.
    local: Option<PathBuf>,
    /// Whether its bytes outlive the process. Only then it has an identity.
    is_lasting: bool,
    identity: Arc<Identity>,
    /// The folder where the bytes of a fragment are kept until all have arrived. Not used for local files.
    spool: PathBuf,
    /// The permits to put a whole fragment.
    put_permits: Arc<Semaphore>,
}

/// The folder of a session's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folder {
    /// The session's tenant.
    pub tenant: TenantId,
    /// The session.
    pub session: SessionId,
}

/// Why a call to the object store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No space is left.
    #[error("the object store is full: {0}")]
    Full(object_store::Error),
    /// An object is missing or too short, although the database refers to it.
    #[error("an object is missing: {0}")]
    Missing(Path),
    /// The store is not the one that the database belongs to: nothing is read from it, put or dropped.
    #[error(transparent)]
    Mismatch(Mismatch),
    /// Any other failure: the store cannot be reached, or refuses access.
    #[error("the object store failed: {0}")]
    Unavailable(object_store::Error),
}

impl Blobs {
    /// Opens the store at a URL: `file:///folder`, which is created if it does not exist, `s3://bucket/prefix`,
    /// `az://container/prefix`, `gs://bucket/prefix` or `memory://`.
    ///
    /// A provider's settings come from its usual environment variables (`AWS_…`, `AZURE_…`, `GOOGLE_…`), or instead
    /// from the lines `NAME=value` of a file. Except for local files, the bytes of a fragment are kept in the folder
    /// `spool` until all have arrived.
    pub fn open(url: &str, settings: Option<&path::Path>, spool: &path::Path) -> Result<Self, OpenError> {
        let Opened { store, local, is_lasting } = open::open(url, settings)?;
        if local.is_none() {
            let failed = |source| OpenError::Spool { folder: spool.to_owned(), source };
            tempfile::tempfile_in(spool).map_err(failed)?;
        }
        let put_permits = Arc::new(Semaphore::new(MAX_BUFFERED_FRAGMENTS));
        Ok(Self { store, local, is_lasting, identity: Arc::default(), spool: spool.to_owned(), put_permits })
    }

    /// The folder at a URL, if it does not exist. `None` for every other store.
    pub fn missing_folder(url: &str) -> Option<PathBuf> {
        open::missing_folder(url)
    }

    /// Fails unless an object can be put, read, listed and dropped.
    pub async fn check(&self) -> Result<(), OpenError> {
        let checked = timeout(READ_TIMEOUT, probe::check(&*self.store)).await;
        checked.map_err(|_| timed_out().into()).and_then(|checked| checked).map_err(OpenError::Unusable)
    }

    /// Begins a fragment, which is not visible before it is published.
    pub async fn begin(&self, folder: Folder, object: Uuid) -> Result<Fragment, Error> {
        Fragment::begin(self, folder, object).await
    }

    /// Reads bytes of an object.
    #[tracing::instrument(name = "blobs.read", level = "debug", skip_all)]
    pub async fn read(&self, folder: Folder, object: Uuid, range: Range<u64>) -> Result<Bytes, Error> {
        let path = folder.object(object);
        let read = self.read_once(&path, range.clone()).await;
        if !matches!(read, Err(Error::Missing(_))) {
            return read;
        }
        // Its bytes are lost, unless this is another store, or was when the object was looked for.
        self.confirm_now().await?;
        self.read_once(&path, range).await
    }

    async fn read_once(&self, path: &Path, range: Range<u64>) -> Result<Bytes, Error> {
        let (length, end) = (range.end - range.start, range.end);
        let read = timeout(READ_TIMEOUT, self.store.get_range(path, range)).await;
        match read.map_err(|_| timed_out())? {
            Ok(bytes) if bytes.len() as u64 == length => Ok(bytes),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Err(Error::Missing(path.clone())),
            Err(_) if self.is_shorter(path, end).await => Err(Error::Missing(path.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether an object ends before a position. For a read past the end, each store returns another error.
    async fn is_shorter(&self, path: &Path, end: u64) -> bool {
        let head = timeout(READ_TIMEOUT, self.store.head(path)).await;
        head.is_ok_and(|head| head.is_ok_and(|object| object.size < end))
    }

    /// Whether the store lists no object of the session.
    pub async fn is_empty(&self, folder: Folder) -> Result<bool, Error> {
        let mut objects = self.store.list(Some(&folder.path()));
        let first = timeout(READ_TIMEOUT, objects.try_next()).await.map_err(|_| timed_out())?;
        Ok(first?.is_none())
    }

    /// Whether each session may have bytes. Only for local files is this known without listing objects. In a store that
    /// is not the one that the database belongs to, every session may.
    pub async fn may_have_bytes(&self, folders: Vec<Folder>) -> Vec<bool> {
        let unknown = vec![true; folders.len()];
        let Some(root) = &self.local else { return unknown };
        if self.confirm_now().await.is_err() {
            return unknown;
        }
        let Ok(exist) = local::exist(root, folders).await else { return unknown };
        // It may have become the right store after the folders were looked for.
        if self.confirm_now().await.is_ok() { exist } else { unknown }
    }

    /// Drops every object of the session except those in `keep`. Unfinished objects are dropped as well. Fails if this
    /// is not the store that the database belongs to: nothing is there that could be dropped.
    #[tracing::instrument(name = "blobs.drop_all_except", level = "debug", skip_all)]
    pub async fn drop_all_except(&self, folder: Folder, keep: &HashSet<Uuid>) -> Result<(), Error> {
        self.confirm_now().await?;
        match &self.local {
            Some(root) => local::drop_all_except(root, folder, keep).await?,
            None => self.drop_listed(folder, keep).await?,
        }
        // It may have become the right store after its objects were looked for.
        self.confirm_now().await
    }

    /// An object that was listed and not found was dropped by another writer or pass, or the store is inconsistent. A
    /// second attempt finds out.
    async fn drop_listed(&self, folder: Folder, keep: &HashSet<Uuid>) -> Result<(), Error> {
        if self.drop_once(folder, keep).await? || self.drop_once(folder, keep).await? {
            return Ok(());
        }
        Err(Error::Missing(folder.path()))
    }

    /// Lists the objects and drops them. Returns whether every listed object was found.
    async fn drop_once(&self, folder: Folder, keep: &HashSet<Uuid>) -> Result<bool, Error> {
        let kept: HashSet<Path> = keep.iter().map(|object| folder.object(*object)).collect();
        let objects = self.store.list(Some(&folder.path())).map_ok(|object| object.location);
        let unwanted = objects.try_filter(move |path| future::ready(!kept.contains(path))).boxed();
        let mut dropped = self.store.delete_stream(unwanted);
        let (mut all_found, mut failed) = (true, None);
        while let Some(dropped) = dropped.next().await {
            match dropped {
                Ok(_) => {
                    crash_point!("reclaim.first_dropped");
                }
                Err(object_store::Error::NotFound { .. }) => all_found = false,
                // One object that cannot be dropped must not keep the others from being dropped.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(all_found), |error| Err(error.into()))
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
        if is_full(&error) { Self::Full(error) } else { Self::Unavailable(error) }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        object_store::Error::Generic { store: "local", source: error.into() }.into()
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the object store takes too long")
}

/// Whether the store has no space left: the system's error is among the causes.
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
