//! A slow line. On one machine an upload ends before anybody can cancel it.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName},
    middleware::Next,
    response::Response,
};
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

/// How fast the body of this request arrives.
const BYTES_PER_SECOND: HeaderName = HeaderName::from_static("x-bytes-per-second");

/// The middleware that lets a body arrive slowly if the request asks for it. Once the request is answered, the rest of
/// the body arrives as fast as it can: a writer that is refused is not held up.
pub async fn slow(request: Request, next: Next) -> Response {
    let Some(pace) = pace(request.headers()) else { return next.run(request).await };
    let answered = CancellationToken::new();
    let response = next.run(request.map(|body| slowly(body, pace, answered.clone()))).await;
    answered.cancel();
    response
}

fn pace(headers: &HeaderMap) -> Option<f64> {
    let pace: u32 = headers.get(BYTES_PER_SECOND)?.to_str().ok()?.parse().ok()?;
    (pace > 0).then(|| pace.into())
}

fn slowly(body: Body, bytes_per_second: f64, answered: CancellationToken) -> Body {
    let pieces = body.into_data_stream().then(move |piece| {
        let answered = answered.clone();
        async move {
            let length = piece.as_ref().map_or(0, |piece| piece.len());
            tokio::select! {
                () = sleep(Duration::from_secs_f64(length as f64 / bytes_per_second)) => {}
                () = answered.cancelled() => {}
            }
            piece
        }
    });
    Body::from_stream(pieces)
}
