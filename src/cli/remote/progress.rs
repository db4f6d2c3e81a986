//! Prints the progress of a transfer: a bar on a terminal; elsewhere a line for each failure that is retried.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use print_upload_client::Progress;
use tokio::{sync::watch, task::JoinHandle};

use super::output;

/// How often the bar is drawn when nothing happens: rate and time left change even then.
const TICK: Duration = Duration::from_millis(250);

const TEMPLATE: &str = "{bar:30} {bytes} of {total_bytes}  {binary_bytes_per_sec}  {eta} left  {msg}";

/// Prints the progress of a transfer until it is dropped.
pub(super) struct ProgressPrinter {
    bar: ProgressBar,
    following: JoinHandle<()>,
}

impl ProgressPrinter {
    /// Starts to print. Prints nothing when it is quiet.
    pub(super) fn start(progress: watch::Receiver<Progress>, is_quiet: bool) -> Self {
        let bar = if is_quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        let following = tokio::spawn(follow(bar.clone(), progress, is_quiet));
        Self { bar, following }
    }
}

impl Drop for ProgressPrinter {
    fn drop(&mut self) {
        self.following.abort();
        self.bar.finish_and_clear();
    }
}

async fn follow(bar: ProgressBar, mut progress: watch::Receiver<Progress>, is_quiet: bool) {
    let mut has_begun = false;
    let mut printed = None;
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        bar.set_length(now.size);
        bar.set_position(now.done + now.in_flight);
        // Not before the size is known: an empty bar is drawn as full. The rate must not count what an earlier run
        // sent.
        if !has_begun {
            bar.reset_eta();
            bar.enable_steady_tick(TICK);
            has_begun = true;
        }
        if now.trouble == printed {
            continue;
        }
        if bar.is_hidden()
            && !is_quiet
            && let Some(trouble) = &now.trouble
        {
            output::note(format!("waiting: {trouble}"));
        }
        bar.set_message(
            now.trouble.as_ref().map(|trouble| output::printable(&format!("waiting: {trouble}"))).unwrap_or_default(),
        );
        printed = now.trouble;
    }
}
