//! `print-upload-dev demo`: the life of an upload that is canceled, on scratch data. It fails unless all of it held.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use print_upload_client::{
    Client, Credential,
    proto::{
        CreateUploadSessionRequest, DeleteUploadSessionRequest, GetUploadSessionRequest, UploadSession,
        upload_session::State,
    },
};
use tonic::Code;

use super::sample_document::{SIZE, bytes, header, properties, quarter};
use crate::{Options, ScratchFolder, Stack, postgres::Durability};

/// How long to wait for the bytes to go, on a machine and a disk that may be busy: they take milliseconds, which are printed.
const RECLAIM_DEADLINE: Duration = Duration::from_secs(10);

/// Runs the demo on a folder of its own, which is gone afterwards.
pub(super) async fn run() -> anyhow::Result<()> {
    let folder = ScratchFolder::new("demo")?;
    show(folder.path()).await
}

async fn show(folder: &Path) -> anyhow::Result<()> {
    let stack = Stack::start(folder, Options::anywhere(Durability::Durable)).await?;
    println!("the service is at {}, its data are under {}\n", stack.address, folder.display());
    let story = tell(&stack).await;
    stack.stop().await?;
    story
}

async fn tell(stack: &Stack) -> anyhow::Result<()> {
    let client = |token: &str| {
        let credential = Credential::access_token(stack.variable(token)?)?;
        Client::new(&format!("http://{}", stack.address), credential)
    };
    let (mut owner, mut other) = (client("OWNER_TOKEN")?, client("OTHER_TOKEN")?);
    let document = stack.variable("DOCUMENT_NAME")?;
    let name = format!("{document}/uploadSession");

    let session = create(&mut owner, document).await?;
    send_out_of_order(&mut owner, &session.name).await?;
    let active = get(&mut owner, &name).await?;
    ensure!(active.state() == State::Active && active.received_bytes == SIZE as i64 / 4 * 3, "an active session");
    let stored = bytes_under(&stack.bytes_folder())?;
    println!("  the store holds {stored} bytes\n");
    ensure!(stored >= SIZE as u64 / 4 * 3, "the store holds what was sent");

    println!("DeleteUploadSession, by somebody else");
    let refused = other.sessions.delete_upload_session(delete(&name)).await;
    let refusal = refused.err().context("somebody else's delete went through")?;
    println!("  {:?}: {}\n", refusal.code(), refusal.message());
    ensure!(refusal.code() == Code::PermissionDenied, "somebody else's delete is refused");

    println!("DeleteUploadSession {name}");
    owner.sessions.delete_upload_session(delete(&name)).await?;
    let canceled_at = Instant::now();
    println!("  (empty)\n");
    let canceled = get(&mut owner, &name).await?;
    ensure!(canceled.state() == State::Canceled && canceled.ended_by == canceled.owner, "a canceled session");

    while bytes_under(&stack.bytes_folder())? > 0 {
        ensure!(canceled_at.elapsed() < RECLAIM_DEADLINE, "bytes of the canceled upload are still in the store");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("  {} ms after the delete the store holds 0 bytes\n", canceled_at.elapsed().as_millis());

    let next = create(&mut owner, document).await?;
    ensure!(next.name != session.name && next.received_bytes == 0, "a new session");
    println!("All of it held.");
    Ok(())
}

async fn create(client: &mut Client, document: &str) -> anyhow::Result<UploadSession> {
    println!("CreateUploadSession {document}");
    let request = CreateUploadSessionRequest { parent: document.into(), properties: Some(properties()) };
    let session = client.sessions.create_upload_session(request).await?.into_inner();
    describe(&session);
    ensure!(session.state() == State::Active && session.received_bytes == 0, "a new session is active and empty");
    Ok(session)
}

/// The third quarter, the first, the last: the second stays missing.
async fn send_out_of_order(client: &mut Client, session: &str) -> anyhow::Result<()> {
    for number in [2, 0, 3] {
        let range = quarter(number);
        println!("UploadRange {session} [{}, {})", range.start, range.end);
        let answer = client.upload_range(header(session, &range), bytes(range)).await?;
        println!("  missing: {:?}\n", spans(&answer.next_expected_ranges));
    }
    Ok(())
}

async fn get(client: &mut Client, name: &str) -> anyhow::Result<UploadSession> {
    println!("GetUploadSession {name}");
    let request = GetUploadSessionRequest { name: name.into() };
    let session = client.sessions.get_upload_session(request).await?.into_inner();
    describe(&session);
    Ok(session)
}

fn delete(name: &str) -> DeleteUploadSessionRequest {
    DeleteUploadSessionRequest { name: name.into(), ..Default::default() }
}

fn describe(session: &UploadSession) {
    println!("  {} {}", session.name, session.state().as_str_name());
    println!("  received: {} bytes, missing: {:?}", session.received_bytes, spans(&session.next_expected_ranges));
    if let (Some(by), Some(at)) = (&session.ended_by, &session.end_time) {
        println!("  ended by {:?} at {at}, {}", by.identity, session.end_reason().as_str_name());
    }
    println!();
}

fn spans(ranges: &[print_upload_client::proto::ByteRange]) -> Vec<std::ops::Range<i64>> {
    ranges.iter().map(|range| range.start..range.end).collect()
}

/// How many bytes the files below a folder hold.
fn bytes_under(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Files come and go while the service runs.
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()).unwrap_or_default(),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
    }
    Ok(bytes)
}
