//! The identity of a store: an object at its root, which no other store has. Without it the folder of a volume that is
//! not mounted, or another bucket, would look like a store that has lost its bytes.

use std::{
    fs,
    io::{self, ErrorKind},
    path,
    sync::atomic::{AtomicBool, Ordering},
};

use object_store::{ObjectStoreExt, PutMode, PutOptions, path::Path};
use parking_lot::Mutex;
use tokio::{sync::watch, task::spawn_blocking, time::timeout};
use uuid::Uuid;

use super::{Blobs, Error, READ_TIMEOUT, timed_out};

/// The name of the object. No tenant has it.
const OBJECT: &str = "print-upload-store";

/// Why a store is not the one that the database belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The identity that it must have is not known.
    #[error("it is not known yet which object store the database belongs to")]
    Unknown,
    /// It has none.
    #[error(
        "the object store has no identity, but the database belongs to the store {0}: mount its volume or correct \
         --store; only if the bytes were moved here, run `print-upload store adopt`"
    )]
    None(Uuid),
    /// It has another one.
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
    /// That of the store that the database belongs to.
    expected: Mutex<Option<Uuid>>,
    /// The result of the last comparison.
    mismatch: watch::Sender<Option<Mismatch>>,
    /// Whether the store had the expected identity when it was last read.
    is_confirmed: AtomicBool,
}

impl Identity {
    /// Fails unless the folder is the root of the expected store.
    pub(super) fn confirm_folder(&self, root: &path::Path) -> Result<(), Error> {
        self.judge(read_file(root)?)
    }

    /// Fails unless the identity that was found is the expected one.
    fn judge(&self, found: Option<Uuid>) -> Result<(), Error> {
        let expected = *self.expected.lock();
        let mismatch = match (expected, found) {
            (None, _) => Some(Mismatch::Unknown),
            (Some(expected), None) => Some(Mismatch::None(expected)),
            (Some(expected), Some(found)) => (found != expected).then_some(Mismatch::Other { found, expected }),
        };
        self.is_confirmed.store(mismatch.is_none(), Ordering::Relaxed);
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
        if *expected != Some(identity) {
            *expected = Some(identity);
            self.identity.is_confirmed.store(false, Ordering::Relaxed);
        }
    }

    /// Fails unless the store is the expected one. A folder is read each time: another volume can be mounted over it.
    /// The address of every other store does not change while the process runs, so it was compared before.
    pub(super) async fn confirm(&self) -> Result<(), Error> {
        if self.local.is_none() && self.identity.is_confirmed.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.confirm_afresh().await
    }

    /// Fails unless the store is the expected one at this moment.
    pub async fn confirm_afresh(&self) -> Result<(), Error> {
        if !self.is_lasting {
            return Ok(());
        }
        self.identity.judge(self.read_identity().await?)
    }

    /// Reads the identity of the store. `None` if it has none.
    pub async fn read_identity(&self) -> Result<Option<Uuid>, Error> {
        if let Some(root) = self.local.clone() {
            return Ok(spawn_blocking(move || read_file(&root)).await.map_err(io::Error::other)??);
        }
        let read = async {
            match self.store.get(&Path::from(OBJECT)).await {
                Ok(object) => Ok(Some(object.bytes().await?)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let text = timeout(READ_TIMEOUT, read).await.map_err(|_| timed_out())??;
        Ok(text.map(|text| parse(&String::from_utf8_lossy(&text))).transpose()?)
    }

    /// Gives the store an identity, unless it has one. Returns the one that it has. Of several replicas that do so at
    /// the same time, all return the same one.
    pub async fn create_identity(&self) -> Result<Uuid, Error> {
        let object = Path::from(OBJECT);
        let content = format!("{}\n", Uuid::new_v4());
        let options = PutOptions::from(PutMode::Create);
        let created = timeout(READ_TIMEOUT, self.store.put_opts(&object, content.clone().into(), options)).await;
        match created.map_err(|_| timed_out())? {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            // A store that cannot put on a condition. If two replicas do this at the same time, one of them may be left
            // with a mismatch.
            Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                self.store.put(&object, content.into()).await?;
            }
            Err(error) => return Err(error.into()),
        }
        crash_point!("identity.put");
        let identity = self.read_identity().await?;
        identity.ok_or_else(|| io::Error::other("the identity that was put is not there").into())
    }
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
