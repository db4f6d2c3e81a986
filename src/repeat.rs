//! Background work that is repeated for ever, even if it fails.

use std::{fmt::Debug, time::Duration};

use tokio::time::sleep;

/// How long to wait after a failure.
const FAILED_INTERVAL: Duration = Duration::from_secs(1);

/// Calls `work` and `wait` in turn. After a failure of `work`, waits for [`FAILED_INTERVAL`] instead. Logs only the
/// first of consecutive failures, and the recovery.
pub async fn repeat<Work, Wait, Error>(what: &str, work: impl Fn() -> Work, wait: impl Fn() -> Wait)
where
    Error: Debug,
    Work: Future<Output = Result<(), Error>>,
    Wait: Future<Output = ()>,
{
    let mut is_failing = false;
    loop {
        let done = work().await;
        match &done {
            Err(error) if !is_failing => tracing::warn!(error = ?error, "{what} failed; retrying"),
            Ok(()) if is_failing => tracing::info!("{what} recovered"),
            _ => {}
        }
        is_failing = done.is_err();
        if is_failing { sleep(FAILED_INTERVAL).await } else { wait().await }
    }
}
