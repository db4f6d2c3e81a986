//! Checks that a cancel notifies every stalled writer, on whatever replicas the balancer has chosen.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use print_upload::blobs::Blobs;
use print_upload_client::{
    Client,
    proto::{UploadRangeRequest, UploadRangeResponse},
    range_messages,
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::cli::story::{Api, CANCELED, Caller, Checks, Grpc, bytes, header, quarter, refusal};

/// How many writers stall: as many as one replica takes of one session.
const WRITERS: usize = 4;

/// How long it may take to notify a writer. It takes milliseconds; without notifications, five seconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait for the first bytes of the writers to arrive.
const HEAD_START: Duration = Duration::from_millis(500);

struct Stalled {
    /// Kept open, so that the range does not end.
    _unfinished: mpsc::Sender<UploadRangeRequest>,
    response: JoinHandle<Result<UploadRangeResponse, Status>>,
}

/// Returns how many checks held.
pub(super) async fn check(api: &Grpc, document: &str, owner: &Caller, store: Option<&Blobs>) -> anyhow::Result<usize> {
    let mut checks = Checks::new(Grpc::NAME, store);
    let session = api.create(owner, document).await.context("creating a session")?;
    let client = owner.client(&api.transport)?;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        writers.push(stall(&client, &session.handle, writer).await?);
    }
    // A writer that has not begun would be refused, not notified: its response is the same.
    sleep(HEAD_START).await;
    ensure!(writers.iter().all(|writer| !writer.response.is_finished()), "a stalled writer has ended");

    api.delete(owner, document).await.context("deleting")?;
    let canceled_at = Instant::now();

    for writer in writers {
        let response = timeout(DEADLINE, writer.response).await.context("a stalled writer is not notified")??;
        let status = response.err().context("a stalled writer was acknowledged after the cancel")?;
        let refusal = refusal(&status);
        let holds = refusal.code == CANCELED.grpc && refusal.reason == CANCELED.reason.wire_name();
        checks.check(&format!("a stalled writer is notified of the cancel: {refusal}"), holds)?;
    }
    checks.reclaimed(&session, canceled_at).await?;
    Ok(checks.held)
}

/// Sends a range without its last byte.
async fn stall(client: &Client, session: &str, writer: usize) -> anyhow::Result<Stalled> {
    let range = quarter(writer);
    let sent = bytes(range.start..range.end - 1);
    let messages = range_messages(header(session, &range), &sent);
    let (sender, receiver) = mpsc::channel(messages.len());
    for message in messages {
        sender.send(message).await.context("the queue of a writer")?;
    }
    let mut sessions = client.sessions.clone();
    let response =
        tokio::spawn(async move { Ok(sessions.upload_range(ReceiverStream::new(receiver)).await?.into_inner()) });
    Ok(Stalled { _unfinished: sender, response })
}
