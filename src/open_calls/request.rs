//! The request of a call without a credential. Little of it is kept, and its body never waits to be read: what HTTP/2 has
//! received for a call that is not read costs memory.

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderName, HeaderValue, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Limits, MAX_MESSAGE_BYTES};

/// The largest message with its prefix: one byte for the compression, four bytes for the length.
const MAX_BYTES: usize = MAX_MESSAGE_BYTES + 5;

/// How many chunks of a stream may wait for the handler.
const MAX_CHUNKS: usize = 8;

/// The headers that the handlers need.
const HEADERS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::TE,
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
];

/// The longest of their values, and the longest path, in bytes.
const MAX_TEXT_BYTES: usize = 128;

/// Copies what the handlers need, and forgets the rest: headers and a query may have 64 KiB together.
pub(super) fn shrink(parts: &mut Parts) -> Result<(), Status> {
    let path = parts.uri.path();
    let path = (path.len() <= MAX_TEXT_BYTES).then(|| path.parse().ok()).flatten();
    parts.uri = path.ok_or_else(|| Status::unimplemented("there is no such method"))?;
    let headers = HEADERS.into_iter().filter_map(|name| {
        let value = parts.headers.get(&name)?.as_bytes();
        (value.len() <= MAX_TEXT_BYTES)
            .then(|| HeaderValue::from_bytes(value).ok())
            .flatten()
            .map(|value| (name, value))
    });
    parts.headers = headers.collect();
    Ok(())
}

/// Reads a body of one message to its end.
pub(super) async fn whole(body: Body) -> Result<Bytes, Status> {
    let mut chunks = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Status::cancelled("the request broke off"))?;
        if whole.len() + chunk.len() > MAX_BYTES {
            return Err(too_large());
        }
        // A copy: a chunk may keep a much larger buffer.
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// A body with the chunks of `body`. A task reads them as they arrive. If the handler does not keep up, the task reports
/// that it is too much, and discards the rest until the call has ended. The handler may notice that only later.
pub(super) fn stream(body: Body, limits: Limits) -> Body {
    let (handler, chunks) = mpsc::channel(MAX_CHUNKS);
    tokio::spawn(async move {
        tokio::select! {
            () = pass_on(body.into_data_stream(), &handler, &limits.too_much) => {}
            () = limits.ended.cancelled() => {}
        }
    });
    Body::from_stream(ReceiverStream::new(chunks))
}

async fn pass_on(
    mut chunks: BodyDataStream,
    handler: &Sender<Result<Bytes, axum::Error>>,
    too_much: &CancellationToken,
) {
    while let Some(chunk) = chunks.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            // A stream that has broken off reports that again and again.
            Err(error) => return drop(handler.try_send(Err(error))),
        };
        // A copy: a chunk may keep a much larger buffer.
        let copy = Bytes::copy_from_slice(&chunk[..chunk.len().min(MAX_BYTES)]);
        if chunk.len() > MAX_BYTES || too_much.is_cancelled() || handler.try_send(Ok(copy)).is_err() {
            too_much.cancel();
        }
    }
}

pub(super) fn too_large() -> Status {
    Status::resource_exhausted(format!("a call without a credential may send {MAX_BYTES} bytes"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use tonic::Code;

    use super::*;

    fn body(chunks: Vec<Bytes>) -> Body {
        Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, Infallible>)))
    }

    #[tokio::test]
    async fn one_message_is_read_to_its_end_or_refused() {
        let pieces = [Bytes::from_static(&[1; MAX_MESSAGE_BYTES]), Bytes::from_static(&[2; 5])];
        assert_eq!(whole(body(pieces.to_vec())).await.expect("small enough").len(), MAX_BYTES);
        let refused = whole(body([pieces[0].clone(), pieces[0].clone()].to_vec())).await.expect_err("too large");
        assert_eq!(refused.code(), Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn what_the_handler_does_not_take_is_read_and_discarded() {
        let (seen, mut all) = mpsc::channel(1);
        let endless = stream::unfold(seen, |seen| async move {
            seen.send(()).await.ok()?;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"a")), seen))
        });
        let limits = Limits::new(None);
        let kept = stream(Body::from_stream(endless), limits.clone());
        for _ in 0..100 * MAX_CHUNKS {
            all.recv().await.expect("it is read");
        }
        assert!(limits.exceeded().is_some());
        limits.ended.cancel();
        drop(kept);
        while all.recv().await.is_some() {}
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_ends() {
        let broken = stream::repeat_with(|| Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::BrokenPipe)));
        let limits = Limits::new(None);
        let mut kept = stream(Body::from_stream(broken), limits).into_data_stream();
        kept.next().await.expect("an error").expect_err("it has broken off");
        assert!(kept.next().await.is_none());
    }
}
