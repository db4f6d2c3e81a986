//! `print-upload-dev up`: everything on this machine, with one command.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use print_upload::process::{log_stopped, shutdown_signal};

use super::default_data_dir;
use crate::{Options, Stack, postgres::Durability};

/// The options of the stack.
#[derive(Debug, Args)]
pub(super) struct Up {
    /// Address to serve gRPC on. Port 0 chooses a free port.
    #[arg(long, default_value = "127.0.0.1:50051")]
    listen: SocketAddr,

    /// Address to serve the REST gateway on, and on a loopback address a page that shows an upload. Port 0 chooses a
    /// free port.
    #[arg(long, default_value = "127.0.0.1:8080")]
    rest_listen: SocketAddr,

    /// Serve both over TLS. CA_CERT in dev.env names the certificate of a throw-away authority, for clients to trust.
    #[arg(long)]
    tls: bool,

    /// Folder for all data [default: /var/lib/print-upload for root, else below $XDG_DATA_HOME].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

impl Up {
    /// Runs until SIGINT or SIGTERM.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let data_dir = self.data_dir.map_or_else(default_data_dir, Ok)?;
        let Self { listen, rest_listen, tls, .. } = self;
        let options = Options { listen, rest_listen, tls, page: true, durability: Durability::Durable };
        let mut stack = tokio::select! {
            started = Stack::start(&data_dir, options) => started?,
            stopped = shutdown_signal() => return stopped,
        };
        println!("{}", introduction(&stack, tls));
        tokio::select! {
            stopped = shutdown_signal() => stopped?,
            error = stack.failed() => return Err(error),
        }
        log_stopped(stack.stop().await?);
        Ok(())
    }
}

/// What to paste into another terminal.
fn introduction(stack: &Stack, tls: bool) -> String {
    let (grpcurl, curl) =
        if tls { ("grpcurl -cacert $CA_CERT", "curl --cacert $CA_CERT") } else { ("grpcurl -plaintext", "curl") };
    let page = if stack.has_page {
        format!("\n\nTo see an upload being canceled in a browser, open {}/", stack.rest_url)
    } else {
        String::new()
    };
    format!(
        r#"
print-upload serves gRPC on {address} and REST on {rest_url}.{page}

Or paste into another terminal:

  # the names and tokens below
  set -a; . '{env_file}'; set +a

  # create an upload session for 11 bytes, get it, and delete it: that cancels the upload
  alias call='{curl} -i -H "Authorization: Bearer '$OWNER_TOKEN'"'
  call $REST_URL/v1.0/print/$DOCUMENT_NAME/createUploadSession --json '{{"properties": {{"documentName": "hello.txt", "contentType": "text/plain", "size": 11}}}}'
  call $REST_URL/v1.0/print/$DOCUMENT_NAME/uploadSession
  call -X DELETE $REST_URL/v1.0/print/$DOCUMENT_NAME/uploadSession

  # the same over gRPC
  alias call='{grpcurl} -H "authorization: Bearer '$OWNER_TOKEN'"'
  call -d '{{"parent": "'$DOCUMENT_NAME'", "properties": {{"document_name": "hello.txt", "content_type": "text/plain", "size_bytes": 11}}}}' $GRPC_ADDR print.upload.v1.UploadSessions/CreateUploadSession
  call -d '{{"name": "'$DOCUMENT_NAME'/uploadSession"}}' $GRPC_ADDR print.upload.v1.UploadSessions/GetUploadSession
  call -d '{{"name": "'$DOCUMENT_NAME'/uploadSession"}}' $GRPC_ADDR print.upload.v1.UploadSessions/DeleteUploadSession

Ctrl-C stops everything; the data stay in {data_dir}.
"#,
        address = stack.address,
        rest_url = stack.rest_url,
        env_file = stack.env_file().display(),
        data_dir = stack.env_file().parent().unwrap_or(&stack.env_file()).display(),
    )
}
