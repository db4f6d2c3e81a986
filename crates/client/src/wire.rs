//! What both ends of a connection must agree on.

use std::time::Duration;

/// The metadata key of the capability in an upload URL.
pub const UPLOAD_TOKEN: &str = "upload-token";

/// The largest chunk of a range or a download, in bytes.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;

/// How many bytes one call may have unread, in each direction (the HTTP/2 stream window).
pub const STREAM_WINDOW: u32 = 1024 * 1024;

/// How long a connection may be silent before its other end is pinged.
pub const KEEPALIVE: Duration = Duration::from_secs(30);
