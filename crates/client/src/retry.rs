//! Which failed calls are retried, and when.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use super::{Error, Progress};
use crate::{STREAM_WINDOW, proto::Reason};

/// How often a call is made before its failure is returned.
const ATTEMPTS: u32 = 3;

/// The wait before the second attempt, when the service does not state one.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The longest wait, when the service does not state one.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// The slowest line that a range or a download can use, in bytes per second.
const SLOWEST_BYTES_PER_SECOND: u64 = 8 * 1024;

/// How long to wait before a retry of a call that has failed with this status. `None` when it would fail again.
///
/// Only transient failures are retried: the service cannot be reached or is too busy, a range lost a race, or the
/// outcome of the call is unknown, because the connection broke or there was no response in time. The call may then
/// have taken effect: retry it only if it may be repeated.
pub fn retry_delay(status: &Status) -> Option<Duration> {
    let requested = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match (status.code(), Reason::of(status)) {
        (Code::Unavailable | Code::DeadlineExceeded, _) | (Code::Aborted, Some(Reason::RangeRaced)) => {
            Some(requested.unwrap_or_default())
        }
        (Code::ResourceExhausted, _) => requested,
        // Not an error of the service: the connection broke.
        (Code::Unknown | Code::Internal | Code::Cancelled, None) => Some(Duration::ZERO),
        _ => None,
    }
}

/// The wait after attempt number `attempt`, counted from zero: twice as long each time, with jitter.
fn backoff(attempt: u32) -> Duration {
    let longest = FIRST_DELAY.saturating_mul(1 << attempt.min(10)).min(LONGEST_DELAY);
    // Not secret: any random number will do.
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// How long a transfer keeps trying while it fails, from the first failure on.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    failing_since: Option<Instant>,
    attempt: u32,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, failing_since: None, attempt: 0 }
    }

    /// Resets the time: the next failure counts as the first one.
    pub(super) fn succeeded(&mut self) {
        (self.failing_since, self.attempt) = (None, 0);
    }

    /// Waits until a retry may succeed. Returns the error when a retry would fail, or when the limit would pass.
    pub(super) async fn wait(&mut self, error: Error, progress: &watch::Sender<Progress>) -> Result<(), Error> {
        let Error::Call(status) = &error else { return Err(error) };
        let Some(delay) = retry_delay(status) else { return Err(error) };
        let delay = delay.max(backoff(self.attempt));
        let failing_since = *self.failing_since.get_or_insert_with(Instant::now);
        if failing_since.elapsed() + delay > self.limit {
            return Err(error);
        }
        progress.send_modify(|progress| progress.trouble = Some(status.message().to_owned()));
        sleep(delay).await;
        self.attempt += 1;
        Ok(())
    }
}

/// Makes a call that may be repeated, and retries it. The deadline is for all attempts together.
pub(super) async fn call<T, F>(deadline: Duration, mut make: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let end = Instant::now() + deadline;
    let attempts = async {
        let mut attempt = 0;
        loop {
            let failed = match make().await {
                Ok(response) => return Ok(response.into_inner()),
                Err(failed) => failed,
            };
            attempt += 1;
            let delay = retry_delay(&failed).map(|delay| delay.max(backoff(attempt - 1)));
            // A wait that the service asks for, past the deadline, would only hide the failure. Without such a wait the
            // failure may be the deadline itself, as the transport reports it.
            let is_futile =
                failed.get_details_retry_info().is_some() && delay.is_some_and(|delay| Instant::now() + delay >= end);
            match delay {
                Some(delay) if attempt < ATTEMPTS && !is_futile => sleep(delay).await,
                _ => return Err(failed),
            }
        }
    };
    within(deadline, attempts).await
}

/// Waits for a response until the deadline.
pub(super) async fn within<T>(
    deadline: Duration,
    response: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    timeout(deadline, response).await.unwrap_or_else(|_| Err(no_response(deadline)))
}

/// How long to wait for a response after `bytes` were handed over: up to a window of them may still be unsent.
pub(super) fn timeout_on_slow_line(deadline: Duration, bytes: u64) -> Duration {
    deadline + Duration::from_secs(bytes.min(u64::from(STREAM_WINDOW)).div_ceil(SLOWEST_BYTES_PER_SECOND))
}

pub(super) fn no_response(deadline: Duration) -> Status {
    Status::deadline_exceeded(format!("the service did not answer within {}", humantime::format_duration(deadline)))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, future::ready};

    use tonic_types::ErrorDetails;

    use super::*;

    fn refusal(code: Code, reason: &str, retry_after: Option<Duration>) -> Status {
        let mut details = ErrorDetails::with_error_info(reason, "print-upload", HashMap::new());
        details.set_retry_info(retry_after);
        Status::with_error_details(code, "refused", details)
    }

    #[test]
    fn only_transient_failures_are_retried() {
        let second = Duration::from_secs(1);
        let table = [
            (refusal(Code::Unavailable, "DATABASE_UNAVAILABLE", Some(second)), Some(second)),
            (refusal(Code::ResourceExhausted, "TOO_MANY_TRANSFERS", Some(second)), Some(second)),
            (refusal(Code::ResourceExhausted, "TOO_MANY_FRAGMENTS", None), None),
            (refusal(Code::Aborted, "RANGE_RACED", Some(Duration::ZERO)), Some(Duration::ZERO)),
            (refusal(Code::Aborted, "UPLOAD_SESSION_CANCELED", None), None),
            (refusal(Code::DeadlineExceeded, "RANGE_TIMEOUT", None), Some(Duration::ZERO)),
            (refusal(Code::Internal, "INTERNAL", None), None),
            (Status::unavailable("connection refused"), Some(Duration::ZERO)),
            (Status::unknown("connection reset"), Some(Duration::ZERO)),
            (Status::resource_exhausted("a message that is too large"), None),
            (Status::permission_denied("no"), None),
        ];
        for (status, expected) in table {
            assert_eq!(retry_delay(&status), expected, "{status:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_returned_at_once_if_the_wait_is_longer_than_the_deadline() {
        let (deadline, begun) = (Duration::from_secs(30), Instant::now());
        let refused = |seconds| refusal(Code::ResourceExhausted, "LIMIT_REACHED", Some(Duration::from_secs(seconds)));
        let failed = call(deadline, || ready(Err::<Response<()>, _>(refused(300)))).await.expect_err("refused");
        assert_eq!((failed.code(), begun.elapsed()), (Code::ResourceExhausted, Duration::ZERO));
        let failed = call(deadline, || ready(Err::<Response<()>, _>(refused(7)))).await.expect_err("refused");
        assert_eq!((failed.code(), begun.elapsed()), (Code::ResourceExhausted, Duration::from_secs(14)));
    }

    #[test]
    fn waits_grow_up_to_a_limit() {
        assert!((FIRST_DELAY / 2..=FIRST_DELAY).contains(&backoff(0)));
        for attempt in [6, 10, u32::MAX] {
            assert!((LONGEST_DELAY / 2..=LONGEST_DELAY).contains(&backoff(attempt)), "{attempt}");
        }
    }
}
