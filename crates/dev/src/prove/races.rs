//! Cancels against writers: four writers on two replicas send one range after the other, and the session is canceled
//! at a random moment. Nothing goes wrong but the race itself.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use fastrand::Rng;
use print_upload::catalog::Catalog;
use print_upload_client::{
    Client, Credential, Reason, connect,
    proto::{DeleteUploadSessionRequest, DocumentProperties, RangeHeader, UploadSession, upload_session::State},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    round,
    system::{RANGE_TIMEOUT, REPLICAS, System},
};
use crate::sample;

/// How many races run at once, each on its own document.
const LANES: usize = 8;

const WRITERS: usize = 4;

const RANGE_BYTES: i64 = 512;

/// The ranges that a writer sends at most.
const RANGES: i64 = 40;

/// How long before an acknowledgement the database may have reported the session as active, on a replica that has not
/// been notified of the cancel yet (docs/security.md). An acknowledgement that is read later was delayed on its way.
const MAX_REPORT_AGE: Duration = Duration::from_millis(50);

/// How long after the last race every byte is dropped: no writer can be left, and the last pass follows.
const DROPPED: Duration = Duration::from_secs(RANGE_TIMEOUT.as_secs() + 60 + 60);

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    pub races: usize,
    pub acknowledged: usize,
    /// Ranges that were acknowledged before the cancel was answered, but read after it: how many, and the latest.
    pub read_after: usize,
    pub latest: Duration,
    /// Of these, the ranges that were read more than [`MAX_REPORT_AGE`] after it. On a busy machine the client reads late.
    pub read_late: usize,
    /// Ranges that were sent after the cancel was answered, and acknowledged.
    pub violations: usize,
    /// Files of canceled sessions that are left.
    pub files_left: usize,
}

/// The callers of one lane: the owner, on each replica.
#[derive(Clone)]
struct Owner(Vec<Client>);

/// Runs this many races.
pub async fn run(system: &Arc<System>, races: usize, seed: u64) -> anyhow::Result<Report> {
    let left = Arc::new(AtomicUsize::new(races));
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let document = push_document(system).await?;
        let owner = Owner::of(system)?;
        let (left, mut rng) = (Arc::clone(&left), Rng::with_seed(seed.wrapping_add(lane as u64)));
        lanes.spawn(async move {
            let mut report = Report::default();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                race(&owner, &document, &mut rng, &mut report).await?;
            }
            Ok::<_, anyhow::Error>(report)
        });
    }
    let mut report = Report::default();
    while let Some(lane) = lanes.join_next().await {
        report.add(&lane??);
    }
    report.files_left = files_left(system).await?;
    Ok(report)
}

async fn race(owner: &Owner, document: &str, rng: &mut Rng, report: &mut Report) -> anyhow::Result<()> {
    let properties = DocumentProperties {
        document_name: "race".into(),
        content_type: "application/pdf".into(),
        size_bytes: WRITERS as i64 * RANGES * RANGE_BYTES,
    };
    let session = owner.on(rng).create(document, &properties).await?;
    let mut writing = JoinSet::new();
    for writer in 0..WRITERS {
        let client = owner.0[writer % REPLICAS].clone();
        writing.spawn(write(client, session.clone(), writer as i64));
    }
    sleep(Duration::from_micros(rng.u64(..40_000))).await;
    let name = if rng.bool() { session.name.clone() } else { format!("{document}/uploadSession") };
    let canceler = owner.on(rng);
    // In a task of its own, as the writers are.
    let request = DeleteUploadSessionRequest { name, ..Default::default() };
    let canceling = tokio::spawn(async move { canceler.cancel(request).await.map(|()| Instant::now()) });
    let canceled = canceling.await?.context("a cancel")?;

    for acknowledged in writing.join_all().await {
        for range in acknowledged? {
            report.acknowledged += 1;
            let late = range.read.saturating_duration_since(canceled);
            report.violations += usize::from(range.sent > canceled);
            report.read_late += usize::from(late > MAX_REPORT_AGE);
            report.read_after += usize::from(!late.is_zero());
            report.latest = report.latest.max(late);
        }
    }
    let state = owner.on(rng).session(&session.name).await?.state();
    ensure!(state == State::Canceled, "a canceled session is {state:?}");
    report.races += 1;
    Ok(())
}

/// An acknowledged range.
struct Acknowledged {
    sent: Instant,
    read: Instant,
}

/// Sends ranges until one is refused because of the cancel.
async fn write(mut client: Client, session: UploadSession, writer: i64) -> anyhow::Result<Vec<Acknowledged>> {
    let mut acknowledged = Vec::new();
    for range in writer * RANGES..(writer + 1) * RANGES {
        let header = RangeHeader {
            name: session.name.clone(),
            start: range * RANGE_BYTES,
            end: (range + 1) * RANGE_BYTES,
            total: WRITERS as i64 * RANGES * RANGE_BYTES,
            ..Default::default()
        };
        let sent = Instant::now();
        match client.upload_range(header, Bytes::from_static(&[7; RANGE_BYTES as usize])).await {
            Ok(_) => acknowledged.push(Acknowledged { sent, read: Instant::now() }),
            Err(status) if Reason::of(&status) == Some(Reason::UploadSessionCanceled) => return Ok(acknowledged),
            Err(status) => bail!("a range failed: {status}"),
        }
    }
    bail!("the document was complete before the cancel")
}

impl Owner {
    fn of(system: &System) -> anyhow::Result<Self> {
        let credential = Credential::access_token(system.token("OWNER_TOKEN")?)?;
        let clients = system.replicas.iter().map(|replica| {
            let transport = connect(&[format!("http://{}", replica.clients.address)], None)?;
            Ok(Client::over(transport, credential.clone()))
        });
        Ok(Self(clients.collect::<anyhow::Result<_>>()?))
    }

    /// On any replica.
    fn on(&self, rng: &mut Rng) -> Client {
        self.0[rng.usize(..self.0.len())].clone()
    }
}

impl Report {
    fn add(&mut self, other: &Self) {
        self.races += other.races;
        self.acknowledged += other.acknowledged;
        self.read_after += other.read_after;
        self.latest = self.latest.max(other.latest);
        self.read_late += other.read_late;
        self.violations += other.violations;
    }
}

/// A new job. Returns the name of its document.
async fn push_document(system: &System) -> anyhow::Result<String> {
    let (job, document) = (Uuid::now_v7().to_string(), Uuid::new_v4());
    let mut catalog = Catalog::default();
    round::add_job(&mut catalog, &job, document);
    catalog.push(&mut round::catalog_client(system)?).await?;
    Ok(format!("printers/{}/jobs/{job}/documents/{document}", sample::PRINTER))
}

/// Waits until no file is left. Returns how many are left after [`DROPPED`].
async fn files_left(system: &System) -> anyhow::Result<usize> {
    let deadline = Instant::now() + DROPPED;
    loop {
        let folders = fs::read_dir(system.objects_folder())?.count();
        if folders == 0 || Instant::now() > deadline {
            return Ok(folders);
        }
        sleep(Duration::from_millis(200)).await;
    }
}
