//! `print-upload watch`: follows an upload until it has ended.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use print_upload_client::{Client, Error, retry_delay, state_name};
use tokio::time::{Instant, sleep};

use super::{EXIT_CODES, Failure, Patience, Remote, UploadUrl, output, target::Target};
use crate::{
    config::duration,
    proto::{UploadSession, upload_session::State},
};

/// Which session, and how often to ask for it.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Ends with 0 when the upload is completed, with 5 when it was canceled or has expired. With --json every change is a line: an UploadSession of the proto in JSON.\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Watch {
    #[command(flatten)]
    target: Target,

    /// How often to ask.
    #[arg(long, default_value = "1s", value_parser = duration)]
    interval: Duration,

    #[command(flatten)]
    patience: Patience,

    #[command(flatten)]
    upload_url: UploadUrl,

    #[command(flatten)]
    remote: Remote,
}

impl Watch {
    /// Prints every change until there can be no more.
    pub(in crate::cli) async fn run(self) -> ExitCode {
        self.remote.end(self.watch().await)
    }

    async fn watch(&self) -> Result<ExitCode, Failure> {
        let name = self.target.session(&self.upload_url)?;
        let client = self.remote.client_or_holder(&self.upload_url, self.target.is_named()).await?;
        let mut session = client.session(&name).await?;
        // From here on exactly this one, whatever sessions the document gets.
        let name = session.name.clone();
        let mut told = None;
        loop {
            let now = (session.state(), session.received_bytes);
            if told.replace(now) != Some(now) {
                self.tell(&session)?;
            }
            match session.state() {
                State::Active => {}
                State::Completed => return Ok(ExitCode::SUCCESS),
                ended => return Err(Failure::from(Error::Ended(ended)).of_session(&name)),
            }
            session = self.next(&client, &name).await?;
        }
    }

    /// The session after a while. A service that cannot be reached for a moment ends nothing.
    async fn next(&self, client: &Client, name: &str) -> Result<UploadSession, Error> {
        sleep(self.interval).await;
        let asked = Instant::now();
        loop {
            match client.session(name).await {
                Err(Error::Call(status))
                    if retry_delay(&status).is_some() && asked.elapsed() < self.patience.patience => {}
                answer => return answer,
            }
            sleep(self.interval).await;
        }
    }

    fn tell(&self, session: &UploadSession) -> Result<(), Failure> {
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
