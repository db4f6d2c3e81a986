//! Reads the rest of a request's body that its handler has not read. If the rest were dropped, the connection would be
//! reset while the client still sends. The client would never see the response, and a canceled upload would look like a
//! broken network.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{HeaderValue, Version, header},
    middleware::Next,
    response::Response,
};
use futures_util::StreamExt;
use http_body::{Frame, SizeHint};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long to wait for the next bytes of the body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the body is read in total: as long as a range may take. Some clients on slow lines read the response only
/// after they have sent everything.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How long the body is read once the gateway is stopping.
const STOPPING_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of the body is read, in bytes: several times the largest range, for clients that do not know the limit.
const DRAIN_BYTES: u64 = 64 * 1024 * 1024;

/// The middleware. While the response is sent, it reads and discards the rest of the body, up to the limits. If the
/// body is known to be larger than the limit, the response asks an HTTP/1.1 client to close the connection.
pub async fn read_to_the_end(State(stopping): State<CancellationToken>, request: Request, next: Next) -> Response {
    let is_too_large = request.body().size_hint().lower() > DRAIN_BYTES && request.version() < Version::HTTP_2;
    let mut response = next.run(request.map(|body| Body::new(UnreadBody { body, stopping }))).await;
    if is_too_large {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request's body. When it is dropped, the rest that was not read is drained.
struct UnreadBody {
    body: Body,
    stopping: CancellationToken,
}

impl HttpBody for UnreadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
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
        let stopping = self.stopping.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = drain(body) => {}
                () = sleep(DRAIN_TIMEOUT) => {}
                () = async { stopping.cancelled().await; sleep(STOPPING_TIMEOUT).await } => {}
            }
        });
    }
}

async fn drain(body: Body) {
    let mut body = body.into_data_stream();
    let mut drained = 0;
    while let Ok(Some(Ok(bytes))) = timeout(IDLE_TIMEOUT, body.next()).await {
        drained += bytes.len() as u64;
        if drained > DRAIN_BYTES {
            return;
        }
    }
}
