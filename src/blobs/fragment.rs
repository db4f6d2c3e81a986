//! A fragment on its way into the store.

use std::io;

use bytes::BytesMut;
use object_store::{MultipartUpload, ObjectStoreExt, path::Path};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};
use uuid::Uuid;

use super::{Blobs, Error, Folder, local};

/// How much is gathered before it is written to a file: small chunks would each cost a hop to a blocking thread.
const WRITE_BYTES: usize = 1024 * 1024;

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
    /// Anywhere else an interrupted multipart upload would stay behind unseen: the fragment is gathered, then put whole.
    /// The permit bounds how many are in memory.
    Whole(#[expect(dead_code, reason = "held until the fragment is put")] OwnedSemaphorePermit),
    /// The object is there.
    Published,
}

impl Fragment {
    pub(super) async fn begin(blobs: &Blobs, folder: Folder, object: Uuid) -> Result<Self, Error> {
        let path = folder.object(object);
        let sink = if blobs.local.is_some() {
            let (store, path, runtime) = (blobs.store.clone(), path.clone(), Handle::current());
            // Opening the staged file, making its folder and syncing it happen on the calling thread.
            let opening = tokio::task::spawn_blocking(move || runtime.block_on(store.put_multipart(&path)));
            Sink::Staged(opening.await.map_err(io::Error::other)??)
        } else {
            Sink::Whole(blobs.buffers.clone().acquire_owned().await.map_err(io::Error::other)?)
        };
        Ok(Self { blobs: blobs.clone(), folder, path, gathered: BytesMut::new(), sink })
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Makes the object durable and visible under its name. It is part of nothing yet.
    pub async fn publish(&mut self) -> Result<(), Error> {
        self.flush().await?;
        match &mut self.sink {
            Sink::Staged(upload) => drop(upload.complete().await?),
            Sink::Whole(_) => drop(self.blobs.store.put(&self.path, self.gathered.split().freeze().into()).await?),
            Sink::Published => {}
        }
        self.sink = Sink::Published;
        Ok(())
    }

    /// Drops what was written. Only for one who knows that the database did not take it.
    pub async fn discard(mut self) {
        let dropped = match &mut self.sink {
            Sink::Staged(upload) => upload.abort().await,
            // A put that failed may have gone through all the same.
            Sink::Whole(_) | Sink::Published => self.blobs.store.delete(&self.path).await,
        };
        match dropped {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::debug!(error = %error, "a fragment was left for reclaiming"),
        }
        if let Some(root) = &self.blobs.local {
            local::remove_if_empty(root, self.folder).await;
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        if let Sink::Staged(upload) = &mut self.sink
            && !self.gathered.is_empty()
        {
            upload.put_part(self.gathered.split().freeze().into()).await?;
        }
        Ok(())
    }
}
