//! `print-upload status`: how far an upload has come, or how it has ended.

use std::process::ExitCode;

use clap::Args;

use super::{EXIT_CODES, Failure, Remote, UploadUrl, output, target::Target};

/// Which session to get, and how to print it.
#[derive(Debug, Args)]
#[command(after_long_help = format!("With --json the session is printed as an UploadSession of the proto in \
    JSON.\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Status {
    #[command(flatten)]
    target: Target,

    /// Print the upload URL as well. It is a secret: it allows sending to the session, getting its state and canceling
    /// it.
    #[arg(long)]
    show_upload_url: bool,

    #[command(flatten)]
    upload_url: UploadUrl,

    #[command(flatten)]
    remote: Remote,
}

impl Status {
    /// Gets the session and prints it.
    pub(in crate::cli) async fn run(self) -> ExitCode {
        self.remote.end(self.status().await)
    }

    async fn status(&self) -> Result<ExitCode, Failure> {
        let name = self.target.session(&self.upload_url)?;
        let client = self.remote.client(self.remote.caller(&self.upload_url, self.target.named())).await?;
        let session = client.session(&name).await?;
        if self.remote.json {
            output::print(output::session_json(&session, self.show_upload_url)?)?;
        } else {
            output::print(output::session_text(&session, self.show_upload_url))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
