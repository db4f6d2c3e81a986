//! Reads the rest of a request's body that its handler has not read. If the rest were dropped, the connection would be
//! reset while the client still sends. The client would never see the response, and a canceled upload would look like a
//! broken network.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Version, header},
    middleware::Next,
    response::Response,
};
use futures_util::StreamExt;
use http_body::{Frame, SizeHint};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::answer::Unproved;

/// How long to wait for the next bytes of the body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the body is read in total: as long as a range may take. Some clients on slow lines read the response only
/// after they have sent everything.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How long the body is read once the gateway is stopping.
const STOPPING_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of the body is read, in bytes: several times the largest range, for clients that do not know the limit.
const DRAIN_BYTES: u64 = 64 * 1024 * 1024;

/// How long the body of a caller who has proved nothing is read, and how much of it, in bytes: as much as a range may
/// have by default. A client that sends everything first still reads that its token has expired.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(10);
const REFUSED_BYTES: u64 = 10 * 1024 * 1024;

/// How long to wait for a body that the client was not asked for. Some clients send it after a second nevertheless.
const UNASKED_TIMEOUT: Duration = Duration::from_secs(2);

/// The middleware. While the response is sent, it reads and discards the rest of the body, up to the limits.
///
/// The response asks an HTTP/1.1 client to close the connection in two cases: the body is known to be larger than the
/// limit; or the client waits to be asked for its body (`Expect: 100-continue`) and receives the response instead. Then
/// nobody knows whether the next bytes are its body or its next request (RFC 9110, section 10.1.1).
pub async fn read_to_the_end(State(stopping): State<CancellationToken>, request: Request, next: Next) -> Response {
    let is_http_1 = request.version() < Version::HTTP_2;
    let length = request.body().size_hint().lower();
    let is_unasked = is_http_1 && !request.body().is_end_stream() && expects_continue(request.headers());
    let is_unasked = Arc::new(AtomicBool::new(is_unasked));
    let refused = CancellationToken::new();
    let unread = |body| {
        let (is_unasked, refused) = (Arc::clone(&is_unasked), refused.clone());
        Body::new(UnreadBody { body, is_unasked, refused, stopping })
    };
    let mut response = next.run(request.map(unread)).await;
    if response.extensions_mut().remove::<Unproved>().is_some() {
        refused.cancel();
    }
    let is_too_large = length > drained_bytes(&refused);
    if is_http_1 && (is_too_large || is_unasked.load(Ordering::Relaxed)) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get_all(header::EXPECT).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// A request's body. When it is dropped, the rest that was not read is drained.
struct UnreadBody {
    body: Body,
    /// Whether the client waits to be asked for the body. The first read asks it.
    is_unasked: Arc<AtomicBool>,
    /// Canceled when the caller has proved nothing.
    refused: CancellationToken,
    stopping: CancellationToken,
}

impl HttpBody for UnreadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_unasked.store(false, Ordering::Relaxed);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for UnreadBody {
    fn drop(&mut self) {
        let body = std::mem::take(&mut self.body);
        if body.is_end_stream() {
            return;
        }
        let (refused, stopping) = (self.refused.clone(), self.stopping.clone());
        let idle = if self.is_unasked.load(Ordering::Relaxed) { UNASKED_TIMEOUT } else { IDLE_TIMEOUT };
        tokio::spawn(async move {
            tokio::select! {
                () = drain(body, idle, &refused) => {}
                () = sleep(DRAIN_TIMEOUT) => {}
                () = async { refused.cancelled().await; sleep(REFUSED_TIMEOUT).await } => {}
                () = async { stopping.cancelled().await; sleep(STOPPING_TIMEOUT).await } => {}
            }
        });
    }
}

async fn drain(body: Body, idle: Duration, refused: &CancellationToken) {
    let mut body = body.into_data_stream();
    let mut drained = 0;
    while let Ok(Some(Ok(bytes))) = timeout(idle, body.next()).await {
        drained += bytes.len() as u64;
        if drained > drained_bytes(refused) {
            return;
        }
    }
}

fn drained_bytes(refused: &CancellationToken) -> u64 {
    if refused.is_cancelled() { REFUSED_BYTES } else { DRAIN_BYTES }
}
