//! Another tenant, who goes on working: deletes at a modest rate, and uploads that are compared.

use std::{
    cell::Cell,
    net::SocketAddr,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use print_upload_client::{Client, Progress, Source, UploadOptions, proto::DocumentProperties};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::bench::{
    fill::delete,
    load::{self, Latencies, Load},
    system::Service,
};

/// Deletes a second.
pub const RATE: f64 = 100.0;

const CONNECTIONS: usize = 2;
const CALLERS: usize = 8;

/// How long one upload may take.
const UPLOAD: Duration = Duration::from_secs(60);

/// How often a new connection is opened.
const CONNECT: Duration = Duration::from_millis(500);

/// What HTTP/2 begins with: the preface and an empty SETTINGS frame.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Deletes over connections that stay open, before and during an act.
pub struct Deletes {
    idle: oneshot::Receiver<Latencies>,
    go: oneshot::Sender<()>,
    stop: mpsc::Sender<()>,
    running: JoinHandle<anyhow::Result<Load>>,
}

/// Uploads that have been finished, of how many.
#[derive(Debug, Clone, Default)]
pub struct Uploads {
    pub finished: usize,
    pub begun: usize,
    pub seconds: f64,
    pub errors: Vec<String>,
}

/// New connections that have been served, of how many.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewConnections {
    pub served: usize,
    pub tried: usize,
}

impl Deletes {
    /// Begins with the sessions of the idle part.
    pub fn begin(service: &Service, idle: Range<u64>, during: Range<u64>) -> Self {
        let target = service.target(CONNECTIONS, CALLERS);
        let frames = |sessions: Range<u64>| sessions.map(delete).collect::<Vec<Bytes>>();
        let (idle, during): (Arc<[Bytes]>, Arc<[Bytes]>) = (frames(idle).into(), frames(during).into());
        let (measured, idle_latencies) = oneshot::channel();
        let (go, gate) = oneshot::channel();
        let (stop, stopped) = mpsc::channel(1);
        let running = tokio::spawn(load::on_own_thread(move || async move {
            let callers = target.open("DeleteUploadSession").await?;
            let (_running, never) = mpsc::channel(1);
            let load = load::run_open(callers.clone(), idle, RATE, never).await?;
            let _ = measured.send(load.latencies);
            gate.await.context("no act begins")?;
            load::run_open(callers, during, RATE, stopped).await
        }));
        Self { idle: idle_latencies, go, stop, running }
    }

    /// The latencies of the idle part.
    pub async fn idle(mut self) -> anyhow::Result<(Latencies, Self)> {
        match (&mut self.idle).await {
            Ok(latencies) => {
                let (_, idle) = oneshot::channel();
                Ok((latencies, Self { idle, ..self }))
            }
            Err(_) => match self.running.await? {
                Err(error) => Err(error).context("deletes before the act"),
                Ok(_) => bail!("the deletes have ended too early"),
            },
        }
    }

    /// Goes on with the sessions of the other part, until `act` has ended. Returns what `act` returns.
    pub async fn during<T>(self, act: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, Load)> {
        let _ = self.go.send(());
        let returned = act.await;
        drop(self.stop);
        let load = self.running.await?.context("deletes during the act")?;
        Ok((returned?, load))
    }
}

/// Uploads the documents one after the other, spread over the time, and compares the downloads.
pub async fn upload(client: Client, documents: Vec<String>, bytes: usize, within: Duration) -> Uploads {
    let pause = within / u32::try_from(documents.len()).unwrap_or(1).max(1);
    let begun = Instant::now();
    let mut uploads = Uploads::default();
    for (number, document) in documents.iter().enumerate() {
        sleep((pause * number as u32).saturating_sub(begun.elapsed())).await;
        let upload_begun = Instant::now();
        uploads.begun += 1;
        let uploaded = timeout(UPLOAD, upload_one(&client, document, bytes)).await;
        match uploaded.unwrap_or_else(|_| Err(anyhow::anyhow!("not finished after {} s", UPLOAD.as_secs()))) {
            Ok(()) => uploads.finished += 1,
            Err(error) => uploads.errors.push(format!("{error:#}")),
        }
        uploads.seconds = uploads.seconds.max(upload_begun.elapsed().as_secs_f64());
    }
    uploads
}

async fn upload_one(client: &Client, document: &str, bytes: usize) -> anyhow::Result<()> {
    let mut content = vec![0; bytes];
    fastrand::fill(&mut content);
    let content = Bytes::from(content);
    let properties = DocumentProperties {
        document_name: "poster.pdf".into(),
        content_type: "application/pdf".into(),
        size_bytes: i64::try_from(bytes)?,
    };
    let session = client.create(document, &properties).await.context("create")?;
    let progress = watch::Sender::<Progress>::default();
    let source = Source::bytes(content.clone());
    client.upload(&session, &source, &UploadOptions::default(), &progress).await.context("upload")?;
    let mut downloaded = Vec::new();
    client.download(document, &mut downloaded, &progress).await.context("download")?;
    ensure!(downloaded == content[..], "the download differs from what was sent");
    Ok(())
}

/// Opens new connections again and again, and counts those that are served. Runs until it is dropped.
pub async fn connect(address: SocketAddr, counted: &Cell<NewConnections>) {
    loop {
        let is_served = timeout(UPLOAD, greet(address)).await.is_ok_and(|greeted| greeted.is_ok());
        let NewConnections { served, tried } = counted.get();
        counted.set(NewConnections { served: served + usize::from(is_served), tried: tried + 1 });
        sleep(CONNECT).await;
    }
}

/// A connection is served if the service sends its own settings.
async fn greet(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(GREETING).await?;
    stream.read_exact(&mut [0; 9]).await.map(drop)
}
