//! A fragment on its way into the store.

use std::{io, mem, time::Duration};

use bytes::{Bytes, BytesMut};
use object_store::{MultipartUpload, ObjectStoreExt, path::Path};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, task::spawn_blocking, time::timeout};
use uuid::Uuid;

use super::{Blobs, Error, Folder, local, spool::Spool, timed_out};

/// How much is gathered before it is written to a file: small chunks would each cost a hop to a blocking thread.
const WRITE_BYTES: usize = 1024 * 1024;

/// How long a store may take to answer a put. After that the object may still appear, but hardly later.
pub const PUT_TIMEOUT: Duration = Duration::from_secs(50);

/// How long dropping an object may take that nobody needs; reclaiming finds it otherwise.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// A fragment that is being written. When it is dropped before it is published, nothing of it stays; a published one stays
/// until somebody discards it or reclaiming finds that no manifest holds it.
#[derive(Debug)]
pub struct Fragment {
    blobs: Blobs,
    folder: Folder,
    path: Path,
    /// What has not been written yet. Copied from the chunks: a small one would keep a large buffer alive.
    gathered: BytesMut,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    /// Local files: written as the bytes come, to a staged file beside the object.
    Staged(Box<dyn MultipartUpload>),
    /// Anywhere else an interrupted multipart upload would stay behind unseen: the bytes wait until they are all there, and
    /// are then put whole. A client that stalls holds little memory, whatever it has sent.
    Spooled(Spool),
    /// All there, in memory: the permit bounds how many are.
    Whole(Bytes, OwnedSemaphorePermit),
    /// The object is there, or may be.
    Put,
}

impl Fragment {
    pub(super) async fn begin(blobs: &Blobs, folder: Folder, object: Uuid) -> Result<Self, Error> {
        let path = folder.object(object);
        let sink = if blobs.local.is_some() {
            let (store, path, runtime) = (blobs.store.clone(), path.clone(), Handle::current());
            // Opening the staged file, making its folder and syncing it happen on the calling thread.
            let opening = spawn_blocking(move || runtime.block_on(store.put_multipart(&path)));
            Sink::Staged(opening.await.map_err(io::Error::other)??)
        } else {
            Sink::Spooled(Spool::open(blobs.spool.clone()).await?)
        };
        Ok(Self { blobs: blobs.clone(), folder, path, gathered: BytesMut::new(), sink })
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Does everything that publishing needs, which may have to wait for others. Nobody sees the object yet.
    #[tracing::instrument(name = "blobs.prepare", level = "debug", skip_all)]
    pub async fn prepare(&mut self) -> Result<(), Error> {
        self.flush().await?;
        if let Sink::Spooled(spool) = &self.sink {
            let place = self.blobs.places.clone().acquire_owned().await.map_err(io::Error::other)?;
            self.sink = Sink::Whole(spool.read().await?.into(), place);
        }
        Ok(())
    }

    /// Makes the object durable and visible under its name, once it was prepared. It is part of nothing yet.
    #[tracing::instrument(name = "blobs.publish", level = "debug", skip_all)]
    pub async fn publish(&mut self) -> Result<(), Error> {
        // The object would hold a part of the bytes and pass for the whole.
        if !self.gathered.is_empty() || matches!(self.sink, Sink::Spooled(_)) {
            return Err(io::Error::other("a fragment is published before it was prepared").into());
        }
        match mem::replace(&mut self.sink, Sink::Put) {
            Sink::Staged(mut upload) => drop(upload.complete().await?),
            Sink::Whole(bytes, _place) => {
                let put = self.blobs.store.put(&self.path, bytes.into());
                timeout(PUT_TIMEOUT, put).await.map_err(|_| timed_out())??;
            }
            Sink::Spooled(_) | Sink::Put => {}
        }
        Ok(())
    }

    /// Drops what was written. Only for one who knows that the database did not take it.
    pub async fn discard(mut self) {
        let dropped = match &mut self.sink {
            Sink::Staged(upload) => upload.abort().await,
            Sink::Spooled(_) | Sink::Whole(..) => Ok(()),
            // A put that failed may have gone through all the same.
            Sink::Put => match timeout(DISCARD_TIMEOUT, self.blobs.store.delete(&self.path)).await {
                Ok(dropped) => dropped,
                Err(_) => return tracing::debug!("a fragment was left for reclaiming"),
            },
        };
        match dropped {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::debug!(error = %error, "a fragment was left for reclaiming"),
        }
        if let (Some(root), Some(object)) = (&self.blobs.local, self.path.filename()) {
            local::remove_rest(root, self.folder, object).await;
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = self.gathered.split().freeze();
        match &mut self.sink {
            Sink::Staged(upload) => upload.put_part(gathered.into()).await?,
            Sink::Spooled(spool) => spool.append(gathered).await?,
            Sink::Whole(..) | Sink::Put => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::name::{SessionId, TenantId};

    #[tokio::test]
    async fn a_fragment_that_cannot_be_published_leaves_no_staged_file() {
        let root = tempfile::tempdir().expect("a folder");
        let store = format!("file://{}", root.path().display());
        let blobs = Blobs::open(&store, None, root.path()).expect("a store");
        let folder = Folder { tenant: TenantId(Uuid::nil()), session: SessionId(Uuid::nil()) };
        let object = Uuid::now_v7();
        let mut fragment = blobs.begin(folder, object).await.expect("a fragment");
        fragment.write(b"bytes").await.expect("taken");
        fragment.prepare().await.expect("prepared");
        // Nothing can be renamed to a folder.
        let session = root.path().join(Uuid::nil().to_string()).join(Uuid::nil().to_string());
        fs::create_dir_all(session.join(object.to_string()).join("in the way")).expect("a folder");

        fragment.publish().await.expect_err("it is in the way");
        fragment.discard().await;

        let left: Vec<_> =
            fs::read_dir(session).expect("the folder").map(|entry| entry.expect("it").file_name()).collect();
        assert_eq!(left, [object.to_string().as_str()]);
    }
}
