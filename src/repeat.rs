//! Background work that is repeated for ever, even if it fails.

use std::{fmt::Debug, time::Duration};

use tokio::time::sleep;

/// How long to wait after work has failed.
const FAILED_INTERVAL: Duration = Duration::from_secs(1);

/// Calls `work` and `rest` in turn. Logs only the first of consecutive failures, and the recovery.
pub async fn repeat<Work, Rest, Error>(what: &str, work: impl Fn() -> Work, rest: impl Fn() -> Rest)
where
    Error: Debug,
    Work: Future<Output = Result<(), Error>>,
    Rest: Future<Output = ()>,
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
        if is_failing { sleep(FAILED_INTERVAL).await } else { rest().await }
    }
}
