//! The identity of a store: an object at its root, which no other store has. Without it the folder of a volume that is
//! not mounted, or another bucket, would look like a store that has lost its bytes.

use std::{
    fs,
    io::{self, ErrorKind},
    path,
};

use object_store::{ObjectStoreExt, PutMode, path::Path};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{Blobs, Error, READ_TIMEOUT, timed_out};

/// The name of the object. No tenant has it.
const OBJECT: &str = "print-upload-store";

/// Why a store is not the one that the database belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The identity that it must have is not known.
    #[error("it is not known yet which object store the database belongs to")]
    NotExpected,
    /// It has none.
    #[error(
        "the object store has no identity, but the database belongs to the store {0}: mount its volume or correct \
         --store; only if the bytes were moved here, run `print-upload store adopt`"
    )]
    Missing(Uuid),
    /// It has another one than the database.
    #[error(
        "the object store is {found}, but the database belongs to the store {expected}: correct --store or \
         --database-url; only if the bytes were moved here, run `print-upload store adopt`"
    )]
    Other {
        /// The identity that it has.
        found: Uuid,
        /// The identity that the database names.
        expected: Uuid,
    },
}

/// What is known of a store's identity.
#[derive(Debug, Default)]
pub(super) struct Identity {
    expected: Mutex<Expected>,
    /// The result of the last comparison.
    mismatch: watch::Sender<Option<Mismatch>>,
    /// The last time that the store was read. Locked meanwhile, so that those who ask at the same time share one read.
    last: tokio::sync::Mutex<Option<Reading>>,
}

/// The identity of the store that the database belongs to.
#[derive(Debug, Default)]
struct Expected {
    identity: Option<Uuid>,
    /// Whether the store had it when it was last read.
    is_confirmed: bool,
}

/// What a read of the store has found.
#[derive(Debug)]
struct Reading {
    begun: Instant,
    found: Result<Option<Uuid>, String>,
}

impl Identity {
    /// Fails unless the folder is the root of the expected store.
    pub(super) fn confirm_folder(&self, root: &path::Path) -> Result<(), Error> {
        self.judge(read_file(root)?)
    }

    /// Fails unless the identity that was found is the expected one.
    fn judge(&self, found: Option<Uuid>) -> Result<(), Error> {
        let mut expected = self.expected.lock();
        let mismatch = match (expected.identity, found) {
            (None, _) => Some(Mismatch::NotExpected),
            (Some(expected), None) => Some(Mismatch::Missing(expected)),
            (Some(expected), Some(found)) => (found != expected).then_some(Mismatch::Other { found, expected }),
        };
        expected.is_confirmed = mismatch.is_none();
        self.mismatch.send_if_modified(|current| {
            if *current == mismatch {
                return false;
            }
            match mismatch {
                Some(mismatch) => tracing::error!("{mismatch}"),
                None => tracing::info!("the object store is the one that the database belongs to again"),
            }
            *current = mismatch;
            true
        });
        mismatch.map_or(Ok(()), |mismatch| Err(Error::Mismatch(mismatch)))
    }
}

impl Blobs {
    /// Whether its bytes outlive the process. Only then it has an identity.
    pub fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    /// Reports whether the store is another one than the database belongs to, now and whenever that changes.
    pub fn mismatch(&self) -> watch::Receiver<Option<Mismatch>> {
        self.identity.mismatch.subscribe()
    }

    /// Sets the identity of the store that the database belongs to.
    pub fn expect(&self, identity: Uuid) {
        let mut expected = self.identity.expected.lock();
        if expected.identity != Some(identity) {
            *expected = Expected { identity: Some(identity), is_confirmed: false };
        }
    }

    /// Fails unless the store was the expected one when it was last read, which is a few seconds ago at most. For a
    /// folder, [`Identity::confirm_folder`] reads it again.
    pub(super) async fn confirm(&self) -> Result<(), Error> {
        if self.identity.expected.lock().is_confirmed { Ok(()) } else { self.confirm_now().await }
    }

    /// Fails unless the store is the expected one at this moment.
    pub async fn confirm_now(&self) -> Result<(), Error> {
        if !self.is_lasting {
            return Ok(());
        }
        let asked = Instant::now();
        let mut last = self.identity.last.lock().await;
        if let Some(reading) = last.as_ref().filter(|reading| reading.begun > asked) {
            return self.identity.judge(reading.found.clone().map_err(io::Error::other)?);
        }
        let begun = Instant::now();
        let found = self.read_identity().await;
        *last = Some(Reading { begun, found: found.as_ref().copied().map_err(ToString::to_string) });
        drop(last);
        self.identity.judge(found?)
    }

    /// Reads the identity of the store. `None` if it has none.
    pub async fn read_identity(&self) -> Result<Option<Uuid>, Error> {
        timeout(READ_TIMEOUT, self.read_object()).await.map_err(|_| timed_out())?
    }

    async fn read_object(&self) -> Result<Option<Uuid>, Error> {
        if let Some(root) = self.local.clone() {
            return Ok(spawn_blocking(move || read_file(&root)).await.map_err(io::Error::other)??);
        }
        match self.store.get(&Path::from(OBJECT)).await {
            Ok(object) => Ok(Some(parse(&String::from_utf8_lossy(&object.bytes().await?))?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the store an identity, unless it has one. Returns the one that it has. Of several replicas that do so at
    /// the same time, all return the same one.
    pub async fn create_identity(&self) -> Result<Uuid, Error> {
        let (object, content) = (Path::from(OBJECT), format!("{}\n", Uuid::new_v4()));
        let put = async {
            let created = self.store.put_opts(&object, content.clone().into(), PutMode::Create.into()).await;
            match created {
                Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
                // A store that cannot put on a condition. If two replicas do this at the same time, one of them may be
                // left with a mismatch.
                Err(error) if self.local.is_some() || is_not_supported(&error) => {
                    self.store.put(&object, content.into()).await.map(drop)
                }
                Err(error) => Err(error),
            }
        };
        timeout(READ_TIMEOUT, put).await.map_err(|_| timed_out())??;
        crash_point!("identity.put");
        let identity = self.read_identity().await?;
        identity.ok_or_else(|| io::Error::other("the identity that was put is not there").into())
    }
}

/// Whether a store cannot do something at all. For a folder whose file system has no hard links, the error has no kind.
fn is_not_supported(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. })
}

fn read_file(root: &path::Path) -> io::Result<Option<Uuid>> {
    match fs::read_to_string(root.join(OBJECT)) {
        Ok(text) => parse(&text).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(text: &str) -> io::Result<Uuid> {
    let malformed = |_| io::Error::new(ErrorKind::InvalidData, format!("the object {OBJECT} holds no identity"));
    Uuid::try_parse(text.trim()).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, process::Command};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_hangs_is_not_waited_for_without_end() {
        let root = tempfile::tempdir().expect("a folder");
        let fifo = root.path().join(OBJECT);
        assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
        let blobs = Blobs::open(&format!("file://{}", root.path().display()), None, root.path()).expect("a store");
        let reading = tokio::spawn(async move { blobs.read_identity().await });
        tokio::task::yield_now().await;

        tokio::time::advance(READ_TIMEOUT * 2).await;
        tokio::task::yield_now().await;

        // The thread that reads ends.
        OpenOptions::new().write(true).open(&fifo).expect("opened");
        let failed = reading.await.expect("no panic").expect_err("it hangs");
        assert!(failed.to_string().contains("the object store takes too long"), "{failed}");
    }
}
