//! Rows 9 and 10: what a cancel does for others: it notifies the writers, and the bytes are deleted.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use print_upload::{
    blobs::{Blobs, Folder},
    name::{SessionId, TenantId},
};
use print_upload_client::{
    Client,
    proto::{DeleteUploadSessionRequest, DocumentProperties, RangeHeader, UploadSession},
};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{
    Bench,
    fill::delete,
    load::{self, Latencies},
    report::{Bar, Figure, Series, Unit},
    stalled::{self, Stalls},
    system::ServeOptions,
};
use crate::sample;

const MIB: usize = 1024 * 1024;

/// Calls to each replica before the measurement.
const WARM_UP: usize = 512;

/// How often it is checked whether the bytes are gone.
const POLL: Duration = Duration::from_micros(200);

pub async fn stalled_writers(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let cancels = bench.count(200, 16);
    let mut documents = bench.system.reset().await?;
    let mut sessions = documents.add_sessions(2 * WARM_UP + bench.options.rounds * 3 * cancels).await?;
    documents.settle().await?;
    let writing = bench.system.serve().await?;
    let other = bench.system.serve_with(ServeOptions { name: "other", ..ServeOptions::default() }).await?;
    let mut take = |count: usize| {
        let taken = sessions.start..sessions.start + count as u64;
        sessions.start = taken.end;
        taken
    };
    for replica in [&writing, &other] {
        let frames = take(WARM_UP).map(delete).collect();
        load::warm_up(&replica.target(8, 64), "DeleteUploadSession", frames).await?;
    }
    let stalls = |canceling, writers, sessions| Stalls { writing: &writing, canceling, writers, sessions };

    let (mut idle, mut same, mut another) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.options.rounds {
        idle.push(stalls(&writing, 0, take(cancels)).run().await?);
        same.push(stalls(&writing, stalled::WRITERS, take(cancels)).run().await?);
        another.push(stalls(&other, stalled::WRITERS, take(cancels)).run().await?);
    }
    writing.stop().await?;
    other.stop().await?;

    let p99 = |measured: &[stalled::Measured], of: fn(&stalled::Measured) -> &Latencies| {
        measured.iter().map(|round| of(round).at(99.0)).collect::<Vec<f64>>()
    };
    let without = Series::new("the cancel without writers", Unit::Milliseconds, p99(&idle, |round| &round.cancels));
    let mut figures = Vec::new();
    for (name, measured, bar) in [("same replica", same, 10.0), ("another replica", another, 20.0)] {
        let notified = p99(&measured, |round| &round.writers);
        figures.push(
            Figure::new(format!("{name}: writers notified"), Unit::Milliseconds, notified).with_bar(Bar::AtMost(bar)),
        );
        let with = Series::new("the cancel", Unit::Milliseconds, p99(&measured, |round| &round.cancels));
        let figure = Figure::ratio(format!("{name}: the cancel ÷ without writers"), with, without.clone());
        figures.push(figure.with_bar(Bar::AtMost(2.0)));
    }
    Ok(figures)
}

pub async fn bytes_gone(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let files = Store::Files(bench.system.objects());
    let measured = gone(bench, None, files).await?;
    let mut figures = vec![Figure::new("bytes gone, files", Unit::Milliseconds, measured).with_bar(Bar::AtMost(50.0))];
    let s3 = bench.options.s3.clone();
    figures.push(match s3 {
        None => Figure::missing("bytes gone, S3", "not measured: no `--s3`"),
        Some(url) => {
            let store = Store::Other(Arc::new(Blobs::open(&url, None, &std::env::temp_dir())?));
            Figure::new("bytes gone, S3", Unit::Milliseconds, gone(bench, Some(&url), store).await?)
                .with_bar(Bar::AtMost(500.0))
        }
    });
    Ok(figures)
}

/// Where the bytes are looked for.
enum Store {
    /// The tenant's folder.
    Files(PathBuf),
    Other(Arc<Blobs>),
}

/// The p99 of each round.
async fn gone(bench: &Bench, store: Option<&str>, bytes_in: Store) -> anyhow::Result<Vec<f64>> {
    let count = bench.count(100, 5);
    let mut documents = bench.system.reset().await?;
    let names = documents.add_documents(bench.options.rounds * count).await?;
    documents.settle().await?;
    let service = bench.system.serve_with(ServeOptions { store, ..ServeOptions::default() }).await?;
    let mut client = service.client()?;
    let bytes = Bytes::from(vec![7; 8 * MIB]);
    let mut values = Vec::new();
    for round in names.chunks(count) {
        let mut times = Latencies::new()?;
        for document in round {
            let session = upload(&mut client, document, &bytes).await?;
            ensure!(!bytes_in.is_empty(&session).await?, "the bytes are not there");
            let request = DeleteUploadSessionRequest { name: session.name.clone(), ..Default::default() };
            client.sessions.delete_upload_session(request).await?;
            let answered = Instant::now();
            bytes_in.wait_until_empty(&session).await?;
            times.record(answered.elapsed());
        }
        values.push(times.at(99.0));
    }
    service.stop().await?;
    Ok(values)
}

/// Creates a session and uploads all bytes but the last.
async fn upload(client: &mut Client, document: &str, bytes: &Bytes) -> anyhow::Result<UploadSession> {
    let (end, total) = (i64::try_from(bytes.len())?, i64::try_from(bytes.len() + 1)?);
    let properties = DocumentProperties {
        document_name: "poster.pdf".into(),
        content_type: "application/pdf".into(),
        size_bytes: total,
    };
    let session = client.create(document, &properties).await?;
    let header = RangeHeader { name: session.name.clone(), start: 0, end, total, ..Default::default() };
    client.upload_range(header, bytes.clone()).await?;
    Ok(session)
}

impl Store {
    async fn is_empty(&self, session: &UploadSession) -> anyhow::Result<bool> {
        match self {
            Self::Files(tenant) => Ok(!tenant.join(&session.etag).exists()),
            Self::Other(blobs) => {
                let id: Uuid = session.etag.parse().context("a session's id")?;
                Ok(blobs.is_empty(Folder { tenant: TenantId(sample::TENANT), session: SessionId(id) }).await?)
            }
        }
    }

    async fn wait_until_empty(&self, session: &UploadSession) -> anyhow::Result<()> {
        if let Self::Files(tenant) = self {
            // On a thread: the runtime's timers are a millisecond apart.
            let folder = tenant.join(&session.etag);
            return spawn_blocking(move || wait_until_removed(&folder)).await?;
        }
        super::wait_until("the bytes to be gone", async || self.is_empty(session).await).await
    }
}

fn wait_until_removed(folder: &std::path::Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + super::PATIENCE;
    while fs::exists(folder)? {
        ensure!(Instant::now() < deadline, "the bytes are still there");
        thread::sleep(POLL);
    }
    Ok(())
}
