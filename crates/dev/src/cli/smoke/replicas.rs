//! Writers that stall, on whichever replicas the balancer has put them, and a cancel that each of them must hear of.

use std::time::Duration;

use anyhow::{Context, ensure};
use print_upload_client::{
    Client, Credential, Reason, Transport,
    proto::{UploadRangeRequest, UploadRangeResponse},
    range_messages,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    Cast, Checks,
    door::Door,
    grpc::{Grpc, refusal},
};
use crate::cli::sample_document::{SIZE, bytes, header};

/// How many writers stall: as many as one replica takes of one session.
const WRITERS: usize = 4;

/// How long a writer may take to be told. It takes milliseconds; without notifications, five seconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long the first bytes of the writers have to arrive.
const HEAD_START: Duration = Duration::from_millis(500);

struct Stalled {
    /// Held, so that the range is not at its end.
    _unfinished: mpsc::Sender<UploadRangeRequest>,
    answer: JoinHandle<Result<UploadRangeResponse, Status>>,
}

/// Tells it, on a document of the owner's that awaits its upload.
pub(super) async fn tell(
    transport: &Transport,
    cast: &Cast,
    document: &str,
    checks: &mut Checks,
) -> anyhow::Result<()> {
    let door = Grpc::new(transport);
    let created = door.create(&cast.owner, document).await?;
    let session = created.map_err(|refusal| anyhow::anyhow!("creating a session: {refusal}"))?;
    let owner = Client::over(transport.clone(), Credential::access_token(&cast.owner)?);
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        writers.push(stall(&owner, &session.handle, writer).await?);
    }
    // Whether a writer that has not begun is told or refused makes no difference that could be seen from here.
    tokio::time::sleep(HEAD_START).await;
    ensure!(writers.iter().all(|writer| !writer.answer.is_finished()), "a stalled writer was answered");

    let deleted = door.delete(&cast.owner, document).await?;
    deleted.map_err(|refusal| anyhow::anyhow!("deleting: {refusal}"))?;

    for writer in writers {
        let answer = timeout(DEADLINE, writer.answer).await.context("a stalled writer is not told of the cancel")??;
        let told = answer.err().context("a stalled writer was acknowledged after the cancel")?;
        let told = refusal(&told);
        let holds = told.code == Grpc::CONFLICT && told.reason == Reason::UploadSessionCanceled.wire_name();
        checks.check(Grpc::NAME, &format!("a stalled writer is told of the cancel: {told}"), holds)?;
    }
    checks.nothing_is_left(Grpc::NAME, &session).await
}

/// Sends a range but for its last byte.
async fn stall(owner: &Client, session: &str, writer: usize) -> anyhow::Result<Stalled> {
    let range = writer * SIZE / WRITERS..(writer + 1) * SIZE / WRITERS;
    let sent = bytes(range.start..range.end - 1);
    let messages = range_messages(header(session, &range), &sent);
    let (sender, receiver) = mpsc::channel(messages.len());
    for message in messages {
        sender.send(message).await.context("the queue of a writer")?;
    }
    let mut sessions = owner.sessions.clone();
    let answer =
        tokio::spawn(async move { Ok(sessions.upload_range(ReceiverStream::new(receiver)).await?.into_inner()) });
    Ok(Stalled { _unfinished: sender, answer })
}
