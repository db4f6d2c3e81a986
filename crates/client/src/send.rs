//! Sends one range.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep, sleep_until},
};
use tonic::{Request, Status};

use super::{
    Client, Error, Progress, Source, chunks,
    progress::InFlight,
    retry::{no_response, timeout_on_slow_line, within},
};
use crate::proto::{
    RangeHeader, UploadRangeRequest, UploadRangeResponse, UploadSession, upload_range_request::Content,
};

/// The largest chunk of a range, in bytes: small enough that progress is visible on a slow line.
const CHUNK_BYTES: usize = 128 * 1024;

/// Sends the ranges of one upload.
#[derive(Debug)]
pub(super) struct RangeSender {
    pub(super) client: Client,
    /// The session as it was at the beginning, with its upload URL.
    pub(super) session: UploadSession,
    pub(super) source: Source,
    pub(super) pace: Pace,
    pub(super) progress: watch::Sender<Progress>,
    /// A client with the session's upload URL, once the caller's own credential is no longer valid.
    pub(super) by_upload_url: OnceLock<Client>,
}

/// How fast all ranges together are sent.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: Option<u64>,
    /// When the next byte may be sent. Held for a moment only, never while waiting.
    next: Mutex<Instant>,
}

impl RangeSender {
    /// Sends a range that is missing. Counts it as done when it is acknowledged.
    pub(super) async fn send(self: Arc<Self>, range: Range<u64>) -> Result<UploadRangeResponse, Error> {
        let length = range.end - range.start;
        let (response, in_flight) = self.send_by_url_if_needed(range, || InFlight::new(&self.progress)).await?;
        in_flight.acknowledged(length);
        Ok(response)
    }

    /// Sends a range that the service has already, so that the service compares it.
    pub(super) async fn repeat(self: &Arc<Self>, range: Range<u64>) -> Result<(), Error> {
        self.send_by_url_if_needed(range, || InFlight::known(&self.progress)).await.map(drop)
    }

    /// Sends a range. If the caller's credential is no longer valid, because an access token has expired in the middle
    /// of the upload, this range and all later ones present the session's upload URL.
    async fn send_by_url_if_needed(
        self: &Arc<Self>,
        range: Range<u64>,
        in_flight: impl Fn() -> InFlight,
    ) -> Result<(UploadRangeResponse, InFlight), Error> {
        let client = self.by_upload_url.get().unwrap_or(&self.client);
        let first = in_flight();
        match self.send_once(client, range.clone(), &first).await {
            Ok(response) => Ok((response, first)),
            Err(error) if error.is_credential_invalid() && self.by_upload_url.get().is_none() => {
                let by_url = self.client.with_upload_url_of(&self.session).ok_or(error)?;
                drop(first);
                let second = in_flight();
                let response = self.send_once(&by_url, range, &second).await?;
                // Another range may have been first.
                let _ = self.by_upload_url.set(by_url);
                Ok((response, second))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a range and sends it with its CRC32C. The range is in memory until there is a response.
    async fn send_once(
        self: &Arc<Self>,
        client: &Client,
        range: Range<u64>,
        in_flight: &InFlight,
    ) -> Result<UploadRangeResponse, Error> {
        let (bytes, crc32c) = self.source.read(range.clone()).await?;
        let length = range.end - range.start;
        let header = self.header(&range, crc32c)?;
        let body = Arc::clone(self).body(header, bytes, in_flight.counter());
        let mut sessions = client.sessions.clone();
        let response = async move { sessions.upload_range(Request::new(body)).await };
        Ok(while_bytes_move(self.client.timeout, length, in_flight, response).await?.into_inner())
    }

    fn header(&self, range: &Range<u64>, crc32c: u32) -> Result<RangeHeader, Error> {
        Ok(RangeHeader {
            name: self.session.name.clone(),
            start: signed(range.start)?,
            end: signed(range.end)?,
            total: signed(self.source.size_bytes())?,
            crc32c: Some(crc32c),
            ..Default::default()
        })
    }

    /// The header, then chunks, no faster than the given rate.
    fn body(
        self: Arc<Self>,
        header: RangeHeader,
        bytes: Bytes,
        handed_over: impl Fn(u64) + Send,
    ) -> impl Stream<Item = UploadRangeRequest> + Send {
        let message = |content| UploadRangeRequest { content: Some(content) };
        let chunks = chunks(bytes, self.pace.chunk_bytes());
        let chunks = stream::unfold((self, chunks, handed_over), move |(sender, mut chunks, handed_over)| async move {
            let chunk = chunks.next()?;
            sender.pace.wait_for(chunk.len()).await;
            handed_over(chunk.len() as u64);
            Some((message(Content::Chunk(chunk)), (sender, chunks, handed_over)))
        });
        stream::StreamExt::chain(stream::iter([message(Content::Header(header))]), chunks)
    }
}

impl Pace {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, next: Mutex::new(Instant::now()) }
    }

    /// At a low rate chunks are small, so that each takes a quarter of a second at most.
    fn chunk_bytes(&self) -> usize {
        let Some(rate) = self.bytes_per_second else { return CHUNK_BYTES };
        usize::try_from(rate / 4).unwrap_or(CHUNK_BYTES).clamp(1, CHUNK_BYTES)
    }

    async fn wait_for(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_second else { return };
        let mut next = self.next.lock().await;
        let turn = (*next).max(Instant::now());
        *next = turn + Duration::from_secs_f64(bytes as f64 / rate as f64);
        drop(next);
        sleep_until(turn).await;
    }
}

/// Waits for the response as long as bytes move, but no longer than `timeout` without any. Once all bytes are handed
/// over, waits for `timeout` plus the time that the last of them may take on a slow line.
async fn while_bytes_move<T>(
    timeout: Duration,
    length: u64,
    in_flight: &InFlight,
    response: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let mut response = std::pin::pin!(response);
    let mut seen = 0;
    loop {
        if seen == length {
            return within(timeout_on_slow_line(timeout, length), response).await;
        }
        tokio::select! {
            response = &mut response => return response,
            () = sleep(timeout) => {}
        }
        let now = in_flight.handed_over();
        if now == seen {
            return Err(no_response(timeout));
        }
        seen = now;
    }
}

fn signed(offset: u64) -> Result<i64, Error> {
    i64::try_from(offset).map_err(|error| Error::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tonic::Code;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_range_that_does_not_move_is_given_up() {
        let in_flight = InFlight::new(&watch::Sender::default());
        let begun = Instant::now();
        let stalled = while_bytes_move(TIMEOUT, 10, &in_flight, pending::<Result<(), Status>>()).await;
        assert_eq!(stalled.expect_err("nothing moves").code(), Code::DeadlineExceeded);
        assert_eq!(begun.elapsed(), TIMEOUT);
        in_flight.counter()(10);
        let unanswered = while_bytes_move(TIMEOUT, 10, &in_flight, pending::<Result<(), Status>>()).await;
        assert_eq!(unanswered.expect_err("no response").code(), Code::DeadlineExceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn a_range_that_moves_may_take_its_time() {
        let in_flight = InFlight::new(&watch::Sender::default());
        let count = in_flight.counter();
        let begun = Instant::now();
        let response = async {
            for _ in 0..10 {
                sleep(TIMEOUT * 9 / 10).await;
                count(1);
            }
            Ok(())
        };
        while_bytes_move(TIMEOUT, 10, &in_flight, response).await.expect("a response");
        assert!(begun.elapsed() > TIMEOUT * 8);
    }

    #[tokio::test(start_paused = true)]
    async fn the_given_rate_is_kept() {
        let (pace, begun) = (Pace::new(Some(1000)), Instant::now());
        assert_eq!(pace.chunk_bytes(), 250);
        for _ in 0..=20 {
            pace.wait_for(250).await;
        }
        assert_eq!(begun.elapsed().as_millis(), 5000, "the last of 5,250 bytes");
    }
}
