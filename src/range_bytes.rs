//! The bytes of a range that the gateway hands over in this process, instead of encoding them as gRPC messages.

use std::sync::Arc;

use axum::{
    body::{Body, BodyDataStream},
    http::Extensions,
};
use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;

use crate::telemetry::{ObservedBody, RequestLog};

/// The body of a REST request, on its way to the handler of `UploadRange`. It is an extension of the call, so it exists
/// only inside this process: nothing that a caller sends becomes one.
#[derive(Debug, Clone)]
pub struct RangeBytes(Arc<Mutex<Option<Body>>>);

/// The chunks of a handed-over body, of any size.
#[derive(Debug)]
pub struct RangeStream(BodyDataStream);

impl RangeBytes {
    /// A body that is not read yet.
    pub fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    /// Takes the body out of a call, if it has one. Its bytes are counted as bytes of the call.
    pub fn take(extensions: &mut Extensions) -> Option<RangeStream> {
        let Self(body) = extensions.remove()?;
        let body = body.lock().take()?;
        let observed = ObservedBody::wrap(body, RequestLog::of(extensions));
        Some(RangeStream(observed.into_data_stream()))
    }
}

impl RangeStream {
    /// The next bytes. A body that breaks off just ends: the handler then has fewer bytes than the range.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.0.next().await?.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::stream;

    use super::*;

    fn call_with(chunks: Vec<io::Result<&'static str>>) -> (Extensions, RequestLog) {
        let (mut extensions, log) = (Extensions::new(), RequestLog::default());
        extensions.insert(log.clone());
        extensions.insert(RangeBytes::new(Body::from_stream(stream::iter(chunks))));
        (extensions, log)
    }

    #[tokio::test]
    async fn a_body_is_taken_once_and_its_bytes_are_counted() {
        let (mut extensions, log) = call_with(vec![Ok("abc"), Ok("defgh")]);
        let mut bytes = RangeBytes::take(&mut extensions).expect("a body");
        assert!(RangeBytes::take(&mut extensions).is_none());
        assert_eq!((bytes.next().await, log.request_bytes()), (Some("abc".into()), 3));
        assert_eq!((bytes.next().await, log.request_bytes()), (Some("defgh".into()), 8));
        assert_eq!(bytes.next().await, None);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_just_ends() {
        let (mut extensions, _) = call_with(vec![Ok("abc"), Err(io::ErrorKind::ConnectionReset.into())]);
        let mut bytes = RangeBytes::take(&mut extensions).expect("a body");
        assert_eq!(bytes.next().await, Some("abc".into()));
        assert_eq!(bytes.next().await, None);
    }
}
