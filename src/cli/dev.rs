//! `print-upload dev`: the embedded default.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{asked_to_stop, default_data_dir, serve};
use crate::dev::{Stack, postgres::Durability};

/// What the embedded default can be told.
#[derive(Debug, Args)]
pub(super) struct Dev {
    /// Address to serve gRPC on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:50051")]
    listen: SocketAddr,

    /// Folder that everything is kept in [default: /var/lib/print-upload for root, else below $XDG_DATA_HOME].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

impl Dev {
    /// Runs until the program is asked to stop.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let data_dir = self.data_dir.map_or_else(default_data_dir, Ok)?;
        let mut stack = tokio::select! {
            started = Stack::start(&data_dir, self.listen, Durability::Durable) => started?,
            stopped = asked_to_stop() => return stopped,
        };
        println!("{}", introduction(&stack));
        tokio::select! {
            stopped = asked_to_stop() => stopped?,
            error = stack.failed() => return Err(error),
        }
        serve::report(stack.stop().await?);
        Ok(())
    }
}

/// What to paste into another terminal.
fn introduction(stack: &Stack) -> String {
    format!(
        r#"
print-upload serves gRPC on {address}. Paste into another terminal:

  # the names and tokens below
  set -a; . '{env_file}'; set +a

  # create an upload session for 11 bytes
  grpcurl -plaintext -H "authorization: Bearer $OWNER_TOKEN" -d '{{"parent": "'$DOCUMENT_NAME'", "properties": {{"document_name": "hello.txt", "content_type": "text/plain", "size_bytes": 11}}}}' $GRPC_ADDR print.upload.v1.UploadSessions/CreateUploadSession

  # look at it
  grpcurl -plaintext -H "authorization: Bearer $OWNER_TOKEN" -d '{{"name": "'$DOCUMENT_NAME'/uploadSession"}}' $GRPC_ADDR print.upload.v1.UploadSessions/GetUploadSession

  # delete it: the upload is canceled, for good
  grpcurl -plaintext -H "authorization: Bearer $OWNER_TOKEN" -d '{{"name": "'$DOCUMENT_NAME'/uploadSession"}}' $GRPC_ADDR print.upload.v1.UploadSessions/DeleteUploadSession

Ctrl-C stops everything; the data stay in {data_dir}.
"#,
        address = stack.address,
        env_file = stack.env_file().display(),
        data_dir = stack.env_file().parent().unwrap_or(&stack.env_file()).display(),
    )
}
