//! `print-upload watch`: follows an upload until it has ended.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use print_upload_client::{Client, Error, state_name};
use tokio::time::{Instant, sleep};

use super::{EXIT_CODES, Failure, Remote, RetryOptions, UploadUrl, output, target::Target};
use crate::{
    config::duration,
    proto::{UploadSession, upload_session::State},
};

/// Which session to follow, and how often to get it.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Ends with 0 when the upload is completed, and with 5 when it was canceled or has \
    expired.\n\n\
    With --json every change is one line: an UploadSession of the proto in JSON.\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Watch {
    #[command(flatten)]
    target: Target,

    /// How often to get the session.
    #[arg(long, default_value = "1s", value_parser = duration)]
    interval: Duration,

    #[command(flatten)]
    retry: RetryOptions,

    #[command(flatten)]
    upload_url: UploadUrl,

    #[command(flatten)]
    remote: Remote,
}

impl Watch {
    /// Prints every change until the session has ended.
    pub(in crate::cli) async fn run(self) -> ExitCode {
        self.remote.end(self.watch().await)
    }

    async fn watch(&self) -> Result<ExitCode, Failure> {
        let name = self.target.session(&self.upload_url)?;
        let client = self.remote.client(self.remote.caller(&self.upload_url, self.target.named())).await?;
        let mut session = client.session(&name).await?;
        // By its id from here on: the document may get another session.
        let name = session.name.clone();
        let mut printed = None;
        loop {
            let now = (session.state(), session.received_bytes);
            if printed.replace(now) != Some(now) {
                self.print(&session)?;
            }
            match session.state() {
                State::Active => {}
                State::Completed => return Ok(ExitCode::SUCCESS),
                ended => return Err(Failure::from(Error::Ended(ended)).of_session(&name)),
            }
            session = self.next(&client, &name).await?;
        }
    }

    /// The session after the interval. Transient failures are retried.
    async fn next(&self, client: &Client, name: &str) -> Result<UploadSession, Error> {
        sleep(self.interval).await;
        let asked_at = Instant::now();
        loop {
            match client.session(name).await {
                Err(error) if error.is_transient() && asked_at.elapsed() < self.retry.patience => {}
                returned => return returned,
            }
            sleep(self.interval).await;
        }
    }

    fn print(&self, session: &UploadSession) -> Result<(), Failure> {
        if self.remote.json {
            output::print(output::session_json(session, false)?)?;
        } else {
            let size = session.properties.as_ref().map_or(0, |properties| properties.size_bytes);
            let state = state_name(session.state());
            output::print(format!("{} {state}, {} of {size} bytes", session.name, session.received_bytes))?;
        }
        Ok(())
    }
}
