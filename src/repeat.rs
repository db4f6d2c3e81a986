//! Background work that goes on for ever, whatever fails.

use std::{fmt::Debug, time::Duration};

use tokio::time::sleep;

/// How long to wait after work has failed.
const FAILED_INTERVAL: Duration = Duration::from_secs(1);

/// Works and rests in turn. A failure is told once, not every time.
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
            Err(error) if !is_failing => tracing::warn!(error = ?error, "{what} failed, and is tried again"),
            Ok(()) if is_failing => tracing::info!("{what} goes on"),
            _ => {}
        }
        is_failing = done.is_err();
        if is_failing { sleep(FAILED_INTERVAL).await } else { rest().await }
    }
}
