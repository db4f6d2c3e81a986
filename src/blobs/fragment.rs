//! A fragment on its way into the store.

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload, path::Path};
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::{Blobs, Error, Folder, local};

/// How much is gathered before it is written to a file: small chunks would each cost a hop to a blocking thread.
const WRITE_BYTES: usize = 1024 * 1024;

/// A fragment that is being written. Dropping it, published or not committed, leaves at most bytes that reclaiming finds.
#[derive(Debug)]
pub struct Fragment {
    blobs: Blobs,
    folder: Folder,
    path: Path,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    /// Local files: written as the bytes come, to a staged file beside the object.
    Staged(Box<dyn MultipartUpload>),
    /// Anywhere else an interrupted multipart upload would stay behind unseen: the fragment is gathered, then put whole.
    /// The permit bounds how many are in memory.
    Whole(#[expect(dead_code, reason = "held until the fragment is put")] OwnedSemaphorePermit),
}

impl Fragment {
    pub(super) async fn begin(blobs: &Blobs, folder: Folder, object: Uuid) -> Result<Self, Error> {
        let path = folder.object(object);
        let sink = if blobs.local.is_some() {
            Sink::Staged(blobs.store.put_multipart(&path).await?)
        } else {
            let permit = blobs.buffers.clone().acquire_owned().await;
            Sink::Whole(permit.map_err(std::io::Error::other)?)
        };
        Ok(Self { blobs: blobs.clone(), folder, path, gathered: Vec::new(), gathered_bytes: 0, sink })
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Makes the object durable and visible under its name. It is part of nothing yet.
    pub async fn publish(&mut self) -> Result<(), Error> {
        self.flush().await?;
        match &mut self.sink {
            Sink::Staged(upload) => drop(upload.complete().await?),
            Sink::Whole(_) => {
                let payload = PutPayload::from_iter(self.gathered.drain(..));
                self.blobs.store.put(&self.path, payload).await?;
            }
        }
        Ok(())
    }

    /// Drops what was written. Only for one who knows that the database did not take it.
    pub async fn discard(mut self) {
        let dropped = match &mut self.sink {
            // After `publish` there is nothing staged to abort: then the object itself is there.
            Sink::Staged(upload) => upload.abort().await,
            Sink::Whole(_) => Ok(()),
        };
        let dropped = dropped.and(match self.blobs.store.delete(&self.path).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => other,
        });
        if let Err(error) = dropped {
            tracing::debug!(error = %error, "a fragment was left for reclaiming");
        }
        if let Some(root) = &self.blobs.local {
            local::remove_if_empty(root, self.folder).await;
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let Sink::Staged(upload) = &mut self.sink else { return Ok(()) };
        if self.gathered_bytes > 0 {
            let payload = PutPayload::from_iter(self.gathered.drain(..));
            self.gathered_bytes = 0;
            upload.put_part(payload).await?;
        }
        Ok(())
    }
}
