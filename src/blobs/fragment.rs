//! A fragment that is being written into the store.

use std::{fmt, io, mem, task::Poll, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, TryFutureExt, future::BoxFuture, poll};
use object_store::{MultipartUpload, ObjectStoreExt, path::Path};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, task::spawn_blocking, time::timeout};
use uuid::Uuid;

use super::{Blobs, Error, Folder, local, part::Part, spool::Spool, timed_out};

/// How long a put may take. Its object may still appear after that, but only soon after. The rename of a local file has
/// no such limit.
pub const PUT_TIMEOUT: Duration = Duration::from_secs(50);

/// How long it may take to drop a discarded object. If it takes longer, reclaiming drops the object.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// A fragment that is being written. If the value is dropped before it is published, nothing of it stays. A published
/// fragment stays until it is discarded, or until reclaiming finds that no manifest holds it.
#[derive(Debug)]
pub struct Fragment {
    blobs: Blobs,
    folder: Folder,
    path: Path,
    /// The bytes that are not written yet.
    part: Part,
    /// The part before that, which is being written. So a range has at most two parts in memory.
    writing: Option<Writing>,
    sink: Sink,
}

/// A write that a blocking thread makes, whether or not somebody waits for it.
struct Writing(BoxFuture<'static, Result<(), Error>>);

/// Where the bytes of a fragment are.
#[derive(Debug)]
enum Sink {
    /// Local files: the bytes are written as they arrive, to a staged file next to the object.
    Staged(Box<dyn MultipartUpload>),
    /// Every other store: the bytes are spooled to a file until all have arrived, and then put as a whole. A multipart
    /// upload would stay in the store if it were interrupted, and not be listed. A client that stalls needs little
    /// memory, whatever it has sent.
    Spooled(Spool),
    /// All bytes, in memory. The permit limits the number of such fragments.
    Whole(Bytes, OwnedSemaphorePermit),
    /// The put has begun: the object may exist.
    Put,
}

impl Fragment {
    pub(super) async fn begin(blobs: &Blobs, folder: Folder, object: Uuid) -> Result<Self, Error> {
        let path = folder.object(object);
        let sink = if let Some(root) = &blobs.local {
            let (store, path, runtime) = (blobs.store.clone(), path.clone(), Handle::current());
            let (identity, root) = (blobs.identity.clone(), root.clone());
            // Opening the staged file, making its folder and syncing it happen on the calling thread.
            let opening = spawn_blocking(move || {
                // Otherwise the folder would be made where a volume is not mounted.
                identity.confirm_folder(&root)?;
                Ok::<_, Error>(runtime.block_on(store.put_multipart(&path))?)
            });
            Sink::Staged(opening.await.map_err(io::Error::other)??)
        } else {
            blobs.confirm().await?;
            Sink::Spooled(Spool::open(blobs.spool.clone()).await?)
        };
        crash_point!("fragment.begun");
        Ok(Self { blobs: blobs.clone(), folder, path, part: Part::default(), writing: None, sink })
    }

    /// Appends the next bytes. Returns while they are being written, or before. If that fails, a later call does.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while !bytes.is_empty() {
            self.part.fill_from(&mut bytes);
            if self.part.is_full() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Does everything that must happen before the put, which may have to wait for other puts. The object is not
    /// visible yet.
    #[tracing::instrument(name = "blobs.prepare", level = "debug", skip_all)]
    pub async fn prepare(&mut self) -> Result<(), Error> {
        // The second call waits for what the first one has begun.
        self.flush().await?;
        self.flush().await?;
        if let Sink::Spooled(spool) = &self.sink {
            let permit = self.blobs.put_permits.clone().acquire_owned().await.map_err(io::Error::other)?;
            self.sink = Sink::Whole(spool.read().await?.into(), permit);
        }
        crash_point!("fragment.prepared");
        Ok(())
    }

    /// Makes the prepared object durable and visible under its name. It is not yet part of a document.
    #[tracing::instrument(name = "blobs.publish", level = "debug", skip_all)]
    pub async fn publish(&mut self) -> Result<(), Error> {
        // Otherwise the object would have only a part of the bytes and look complete.
        if !self.part.is_empty() || self.writing.is_some() || matches!(self.sink, Sink::Spooled(_)) {
            return Err(io::Error::other("a fragment is published before it was prepared").into());
        }
        match mem::replace(&mut self.sink, Sink::Put) {
            Sink::Staged(mut upload) => {
                upload.complete().await?;
                crash_point!("fragment.renamed");
            }
            Sink::Whole(bytes, _permit) => {
                let put = self.blobs.store.put(&self.path, bytes.into());
                timeout(PUT_TIMEOUT, put).await.map_err(|_| timed_out())??;
                crash_point!("fragment.put");
            }
            Sink::Spooled(_) | Sink::Put => {}
        }
        Ok(())
    }

    /// Drops everything that was written. Only call it when the database is known to have no row for this fragment.
    pub async fn discard(mut self) {
        let dropped = match &mut self.sink {
            Sink::Staged(upload) => upload.abort().await,
            Sink::Spooled(_) | Sink::Whole(..) => Ok(()),
            // A put that failed may have created the object all the same.
            Sink::Put => match timeout(DISCARD_TIMEOUT, self.blobs.store.delete(&self.path)).await {
                Ok(dropped) => dropped,
                Err(_) => return tracing::debug!("a fragment was left for reclaiming"),
            },
        };
        match dropped {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::debug!(error = %error, "a fragment was left for reclaiming"),
        }
        crash_point!("fragment.discarded");
        if let (Some(root), Some(object)) = (&self.blobs.local, self.path.filename()) {
            local::remove_rest(root, self.folder, object).await;
        }
    }

    /// Waits until the part before is written, and begins to write the next one.
    async fn flush(&mut self) -> Result<(), Error> {
        if let Some(writing) = self.writing.take() {
            writing.0.await?;
        }
        if self.part.is_empty() {
            return Ok(());
        }
        let part = self.part.take();
        let mut writing = match &mut self.sink {
            Sink::Staged(upload) => {
                let written = upload.put_part(part);
                let staged = async {
                    written.await?;
                    crash_point!("fragment.staged");
                    Ok(())
                };
                staged.boxed()
            }
            Sink::Spooled(spool) => spool.append(part).map_err(Error::from).boxed(),
            Sink::Whole(..) | Sink::Put => return Ok(()),
        };
        // The first poll passes the write to a thread.
        match poll!(&mut writing) {
            Poll::Ready(written) => written,
            Poll::Pending => {
                self.writing = Some(Writing(writing));
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Writing")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::name::{SessionId, TenantId};

    /// A store that is used as the one that the database belongs to.
    async fn adopted(url: &str, spool: &std::path::Path) -> Blobs {
        let blobs = Blobs::open(url, None, spool).expect("a store");
        blobs.expect(blobs.create_identity().await.expect("an identity"));
        blobs
    }

    #[tokio::test]
    async fn a_fragment_has_the_bytes_that_were_written_whatever_their_buffers() {
        let root = tempfile::tempdir().expect("a folder");
        let files = format!("file://{}", root.path().display());
        let bytes = Bytes::from_iter((0..3_000_000).map(|at: u32| (at % 251) as u8));
        for (store, length) in [(files.as_str(), 1000), (&files, 40_000), (&files, 700_001), ("memory://", 100_000)] {
            let blobs = adopted(store, root.path()).await;
            let folder = Folder { tenant: TenantId(Uuid::nil()), session: SessionId(Uuid::nil()) };
            let object = Uuid::now_v7();
            let mut fragment = blobs.begin(folder, object).await.expect("a fragment");
            for start in (0..bytes.len()).step_by(length) {
                let chunk = bytes.slice(start..bytes.len().min(start + length));
                fragment.write(chunk).await.expect("taken");
            }
            fragment.prepare().await.expect("prepared");
            fragment.publish().await.expect("published");
            let stored = blobs.read(folder, object, 0..bytes.len() as u64).await.expect("bytes");
            assert!(stored == bytes, "{store} in buffers of {length} bytes");
        }
    }

    #[tokio::test]
    async fn a_fragment_that_cannot_be_published_leaves_no_staged_file() {
        let root = tempfile::tempdir().expect("a folder");
        let store = format!("file://{}", root.path().display());
        let blobs = adopted(&store, root.path()).await;
        let folder = Folder { tenant: TenantId(Uuid::nil()), session: SessionId(Uuid::nil()) };
        let object = Uuid::now_v7();
        let mut fragment = blobs.begin(folder, object).await.expect("a fragment");
        fragment.write(Bytes::from_static(b"bytes")).await.expect("taken");
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
