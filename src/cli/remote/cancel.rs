//! `print-upload cancel`: deletes an upload session, and so cancels the upload.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{EXIT_CODES, Failure, Remote, UploadUrl, output, target::Target};
use crate::proto::DeleteUploadSessionRequest;

/// Which session to cancel, and under which conditions.
#[derive(Debug, Args)]
#[command(after_long_help = format!("With --json: {{\"canceled\": \"uploadSessions/{{id}}\"}}. \
    The name is the one that was given.\n\n{EXIT_CODES}"))]
pub(in crate::cli) struct Cancel {
    #[command(flatten)]
    target: Target,

    /// Cancel only if the session has this etag; otherwise fail and change nothing.
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,

    /// Succeed also when there is no such session.
    #[arg(long)]
    allow_missing: bool,

    #[command(flatten)]
    upload_url: UploadUrl,

    #[command(flatten)]
    remote: Remote,
}

impl Cancel {
    /// Cancels the upload. Succeeds also when it is canceled already.
    pub(in crate::cli) async fn run(self) -> ExitCode {
        self.remote.end(self.cancel().await)
    }

    async fn cancel(&self) -> Result<ExitCode, Failure> {
        let name = self.target.session(&self.upload_url)?;
        let client = self.remote.client(self.remote.caller(&self.upload_url, self.target.named())).await?;
        let (etag, allow_missing) = (self.etag.clone(), self.allow_missing);
        client.cancel(DeleteUploadSessionRequest { name: name.clone(), etag, allow_missing }).await?;
        if self.remote.json {
            output::print(json!({ "canceled": name }))?;
        } else {
            output::print(format!("canceled {name}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
