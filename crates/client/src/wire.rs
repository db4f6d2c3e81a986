//! What both ends of a connection must agree on.

use std::{iter, time::Duration};

use bytes::Bytes;

/// The metadata key of the capability in an upload URL.
pub const UPLOAD_TOKEN: &str = "upload-token";

/// The largest credential that a call may present, in bytes. Access tokens with the groups of a user have some
/// thousands.
pub const MAX_CREDENTIAL_BYTES: usize = 16 * 1024;

/// The largest chunk of a range or a download, in bytes.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;

/// How many bytes one call may have unread, in each direction (the HTTP/2 stream window).
pub const STREAM_WINDOW: u32 = 1024 * 1024;

/// How long a connection may be silent before its other end is pinged.
pub const KEEPALIVE: Duration = Duration::from_secs(30);

/// Cuts bytes into chunks of at most `max_bytes`, which is not zero, without copying them. No bytes are no chunk.
pub fn chunks(mut bytes: Bytes, max_bytes: usize) -> impl Iterator<Item = Bytes> {
    iter::from_fn(move || (!bytes.is_empty()).then(|| bytes.split_to(bytes.len().min(max_bytes))))
}
