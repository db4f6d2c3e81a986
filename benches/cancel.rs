//! Measures how long a cancel takes, and how long until stalled writers are notified: `make bench`.
//!
//! The whole stack runs on this machine, with fsync: Postgres, local files, the service, and this client. They share
//! the machine's cores.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use print_upload::proto::{
    CreateUploadSessionRequest, DeleteUploadSessionRequest, DocumentProperties, GetUploadSessionRequest, RangeHeader,
    UploadSession,
};
use print_upload_client::{Client, Credential, range_messages};
use print_upload_dev::{Options, ScratchFolder, Stack, postgres::Durability};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

const ROUNDS: usize = 200;

/// The time for stalled writers to start. An idle machine is slower to respond, so every measured cancel comes after
/// this pause, also without writers.
const PAUSE: Duration = Duration::from_millis(20);

const WRITERS: usize = 4;
const MIB: usize = 1024 * 1024;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = ScratchFolder::new("bench")?;
    let stack = Stack::start(folder.path(), Options::anywhere(Durability::Durable)).await?;
    let mut bench = Bench {
        client: Client::new(
            &format!("http://{}", stack.address),
            Credential::access_token(stack.variable("OWNER_TOKEN")?)?,
        )?,
        document: stack.variable("DOCUMENT_NAME")?.to_owned(),
    };
    bench.calls().await?;
    bench.cancels_with_stalled_writers(0).await?;
    bench.cancels_with_stalled_writers(WRITERS).await?;
    bench.time_to_delete_bytes(&stack).await?;
    bench.throughput().await?;
    stack.stop().await?;
    Ok(())
}

struct Bench {
    client: Client,
    document: String,
}

impl Bench {
    async fn calls(&mut self) -> anyhow::Result<()> {
        let (mut creates, mut gets, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let session = self.create(MIB).await?;
            creates.push(begun.elapsed());

            let begun = Instant::now();
            let request = GetUploadSessionRequest { name: session.name.clone() };
            self.client.sessions.get_upload_session(request).await?;
            gets.push(begun.elapsed());

            deletes.push(self.delete(&session).await?);
        }
        report("create", creates);
        report("get", gets);
        report("delete", deletes);
        Ok(())
    }

    async fn cancels_with_stalled_writers(&mut self, count: usize) -> anyhow::Result<()> {
        let (mut deletes, mut notified) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let session = self.create(WRITERS * MIB).await?;
            let mut writers = JoinSet::new();
            let mut senders = Vec::new();
            for writer in 0..count {
                let (sender, receiver) = mpsc::channel(2);
                let header = header(&session, writer * MIB, MIB);
                // The header and half of the bytes. The rest is never sent.
                for message in range_messages(header, &Bytes::from(vec![0; MIB / 2])) {
                    sender.send(message).await?;
                }
                senders.push(sender);
                let mut sessions = self.client.sessions.clone();
                writers.spawn(async move { sessions.upload_range(ReceiverStream::new(receiver)).await });
            }
            sleep(PAUSE).await;
            let begun = Instant::now();
            deletes.push(self.delete(&session).await?);
            while let Some(answer) = writers.join_next().await {
                let status = answer?.err().context("a stalled writer was acknowledged")?;
                ensure!(status.code() == Code::Aborted, "a stalled writer received {status:?}");
            }
            notified.push(begun.elapsed());
        }
        report(&format!("delete after a pause, {count} stalled writers"), deletes);
        if count > 0 {
            report("  until the last of them is notified", notified);
        }
        Ok(())
    }

    async fn time_to_delete_bytes(&mut self, stack: &Stack) -> anyhow::Result<()> {
        let bytes = Bytes::from(vec![7; 8 * MIB]);
        let mut times = Vec::new();
        for _ in 0..ROUNDS / 4 {
            let session = self.create(bytes.len() + 1).await?;
            self.client.upload_range(header(&session, 0, bytes.len()), bytes.clone()).await?;
            let tenant = stack.variable("TENANT")?;
            let folder = stack.bytes_folder().join(tenant).join(&session.etag);
            ensure!(folder.exists(), "the bytes are not in {}", folder.display());
            self.delete(&session).await?;
            let begun = Instant::now();
            while fs::exists(&folder)? {
                sleep(Duration::from_micros(500)).await;
            }
            times.push(begun.elapsed());
        }
        report("8 MiB deleted after the response of the delete", times);
        Ok(())
    }

    async fn throughput(&mut self) -> anyhow::Result<()> {
        const RANGES: usize = 32;
        let bytes = Bytes::from(vec![42; 8 * MIB]);
        let session = self.create(RANGES * bytes.len()).await?;
        let begun = Instant::now();
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (mut client, session, bytes) = (self.client.clone(), session.clone(), bytes.clone());
            writers.spawn(async move {
                for range in (writer..RANGES).step_by(WRITERS) {
                    client.upload_range(header(&session, range * bytes.len(), bytes.len()), bytes.clone()).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(written) = writers.join_next().await {
            written??;
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!("upload, four ranges of 8 MiB at once: {:.0} MiB/s", (RANGES * 8) as f64 / seconds);
        Ok(())
    }

    async fn create(&mut self, size: usize) -> anyhow::Result<UploadSession> {
        let properties = DocumentProperties {
            document_name: "poster.pdf".into(),
            content_type: "application/pdf".into(),
            size_bytes: size as i64,
        };
        let request = CreateUploadSessionRequest { parent: self.document.clone(), properties: Some(properties) };
        Ok(self.client.sessions.create_upload_session(request).await?.into_inner())
    }

    async fn delete(&mut self, session: &UploadSession) -> anyhow::Result<Duration> {
        let request = DeleteUploadSessionRequest { name: session.name.clone(), ..Default::default() };
        let begun = Instant::now();
        self.client.sessions.delete_upload_session(request).await?;
        Ok(begun.elapsed())
    }
}

fn header(session: &UploadSession, start: usize, length: usize) -> RangeHeader {
    RangeHeader {
        name: session.name.clone(),
        start: start as i64,
        end: (start + length) as i64,
        total: session.properties.as_ref().map_or(0, |properties| properties.size_bytes),
        ..Default::default()
    }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    println!("{what}: p50 {:.2} ms, p99 {:.2} ms, worst {:.2} ms, of {}", at(50), at(99), at(100), times.len());
}
