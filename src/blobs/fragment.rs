//! A fragment on its way into the store.

use std::{io, mem, time::Duration};

use bytes::BytesMut;
use object_store::{MultipartUpload, ObjectStoreExt, path::Path};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
    runtime::Handle,
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};
use uuid::Uuid;

use super::{Blobs, Error, Folder, local, timed_out};

/// How much is gathered before it is written to a file: small chunks would each cost a hop to a blocking thread.
const WRITE_BYTES: usize = 1024 * 1024;

/// How long a store may take to answer a put. After that the object may still appear, but hardly later.
pub const PUT_TIMEOUT: Duration = Duration::from_secs(50);

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
    /// Anywhere else an interrupted multipart upload would stay behind unseen: the bytes wait in a nameless file until they
    /// are all there, and are then put whole. So a client that stalls holds no memory, whatever it has sent.
    Spooled(File),
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
            let spool = blobs.spool.clone();
            let opening = spawn_blocking(move || tempfile::tempfile_in(spool));
            Sink::Spooled(File::from_std(opening.await.map_err(io::Error::other)??))
        };
        Ok(Self { blobs: blobs.clone(), folder, path, gathered: BytesMut::new(), sink })
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Makes the object durable and visible under its name. It is part of nothing yet. A put that cannot begin before the
    /// deadline is not begun.
    pub async fn publish(&mut self, deadline: Instant) -> Result<(), Error> {
        self.flush().await?;
        match mem::replace(&mut self.sink, Sink::Put) {
            Sink::Staged(mut upload) => {
                upload.complete().await?;
            }
            Sink::Spooled(file) => put(&self.blobs, &self.path, file, deadline).await?,
            Sink::Put => {}
        }
        Ok(())
    }

    /// Drops what was written. Only for one who knows that the database did not take it.
    pub async fn discard(mut self) {
        let dropped = match &mut self.sink {
            Sink::Staged(upload) => upload.abort().await,
            Sink::Spooled(_) => Ok(()),
            // A put that failed may have gone through all the same.
            Sink::Put => self.blobs.store.delete(&self.path).await,
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
        if self.gathered.is_empty() {
            return Ok(());
        }
        match &mut self.sink {
            Sink::Staged(upload) => upload.put_part(self.gathered.split().freeze().into()).await?,
            Sink::Spooled(file) => file.write_all(&self.gathered.split()).await?,
            Sink::Put => {}
        }
        Ok(())
    }
}

/// Puts a whole object, from memory: how many are there at once is bounded.
async fn put(blobs: &Blobs, path: &Path, mut file: File, deadline: Instant) -> Result<(), Error> {
    let buffer = timeout_at(deadline, blobs.buffers.acquire()).await.map_err(|_| timed_out())?;
    let _buffer = buffer.map_err(io::Error::other)?;
    file.rewind().await?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).await?;
    timeout(PUT_TIMEOUT, blobs.store.put(path, bytes.into())).await.map_err(|_| timed_out())??;
    Ok(())
}
