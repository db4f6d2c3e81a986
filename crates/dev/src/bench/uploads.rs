//! Rows 5 to 7: uploads over REST, against a bare loop on the same disk, and beside other servers.

use std::{fs, net::SocketAddr, path::Path, process, sync::Arc, thread, time::Instant};

use anyhow::{Context, ensure};
use print_upload_client::proto::DocumentProperties;
use tokio::task::spawn_blocking;
use url::Url;

use super::{
    Bench, Side, bare_loop,
    fill::Documents,
    http::Http,
    peers::{self, Peer},
    proc,
    report::{Bar, Figure, Series, Unit},
    system::{Service, System},
};

const MIB: usize = 1024 * 1024;
pub const RANGE_BYTES: usize = 4 * MIB;

/// The values of the rounds.
#[derive(Default)]
struct Measured {
    ours: Vec<f64>,
    bare: Vec<f64>,
    cpu_of_service: Vec<f64>,
    cpu_of_postgres: Vec<f64>,
    cpu_of_bare: Vec<f64>,
}

pub async fn one_connection(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let (ranges, rounds) = (bench.count(64, 4), bench.options.rounds);
    let measured = measure(bench, 1).await?;
    let ours = Series::new("upload", Unit::MibPerSecond, measured.ours);
    let bare = Series::new("bare loop", Unit::MibPerSecond, measured.bare);
    let mut figures = vec![Figure::ratio("upload ÷ bare loop", ours, bare).with_bar(Bar::AtLeast(0.65))];
    for peer in peers::all(&bench.options) {
        figures.push(beside(bench, peer, ranges, rounds).await);
    }
    Ok(figures)
}

pub async fn four_at_once(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let measured = measure(bench, 4).await?;
    let ours = Series::new("four uploads", Unit::MibPerSecond, measured.ours);
    let bare = Series::new("four bare loops", Unit::MibPerSecond, measured.bare);
    Ok(vec![Figure::ratio("four uploads ÷ four bare loops", ours, bare).with_bar(Bar::AtLeast(0.75))])
}

pub async fn cpu(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (name, documents) in [("one connection", 1), ("four documents at once", 4)] {
        let Measured { cpu_of_service, cpu_of_postgres, cpu_of_bare, .. } = measure(bench, documents).await?;
        let both = cpu_of_service.iter().zip(&cpu_of_postgres).map(|(service, postgres)| service + postgres).collect();
        let figure = Figure::new(format!("CPU, {name}"), Unit::CpuSecondsPerGib, both).with_bar(Bar::AtMost(1.3));
        let figure = figure.beside(Series::new("service", Unit::CpuSecondsPerGib, cpu_of_service));
        let figure = figure.beside(Series::new("Postgres", Unit::CpuSecondsPerGib, cpu_of_postgres));
        figures.push(figure.beside(Series::new("the bare loop", Unit::CpuSecondsPerGib, cpu_of_bare)));
    }
    Ok(figures)
}

/// Uploads documents at once, alternating with as many bare loops.
async fn measure(bench: &Bench, at_once: usize) -> anyhow::Result<Measured> {
    let ranges = bench.count(64, 4);
    let mib = (at_once * ranges * RANGE_BYTES / MIB) as f64;
    let mut documents = bench.system.reset().await?;
    let mut measured = Measured::default();
    let service = bench.system.serve().await?;
    warm_up(&bench.system, &service, &mut documents).await?;
    let postgres = postgres_pid(&mut documents).await?;
    for sides in bench.rounds() {
        for side in sides {
            write_dirty_pages().await?;
            match side {
                Side::Ours => {
                    let sessions = create(&service, &mut documents, at_once, ranges).await?;
                    let cpu = (proc::cpu_seconds(service.process.id())?, proc::cpu_seconds_of_tree(postgres)?);
                    measured.ours.push(mib / upload(service.rest, sessions, ranges).await?);
                    let (of_service, of_postgres) = cpu;
                    let gib = mib / 1024.0;
                    let used = proc::cpu_seconds(service.process.id())? - of_service;
                    measured.cpu_of_service.push(used / gib);
                    let used = proc::cpu_seconds_of_tree(postgres)? - of_postgres;
                    measured.cpu_of_postgres.push(used / gib);
                    fs::remove_dir_all(bench.system.objects()).context("the uploaded bytes")?;
                }
                Side::Limit => {
                    // The loops run in this process, which does nothing else meanwhile.
                    let own = i32::try_from(process::id())?;
                    let before = proc::cpu_seconds(own)?;
                    measured.bare.push(mib / bare_loops(bench.system.folder(), at_once, ranges).await?);
                    let used = proc::cpu_seconds(own)? - before;
                    measured.cpu_of_bare.push(used * 1024.0 / mib);
                }
            }
        }
    }
    service.stop().await?;
    Ok(measured)
}

/// Uploads one document that is not measured.
async fn warm_up(system: &System, service: &Service, documents: &mut Documents) -> anyhow::Result<()> {
    let sessions = create(service, documents, 1, 4).await?;
    upload(service.rest, sessions, 4).await?;
    fs::remove_dir_all(system.objects()).context("the uploaded bytes")
}

/// Creates sessions, and returns the path and query of their upload URLs.
pub async fn create(
    service: &Service,
    documents: &mut Documents,
    count: usize,
    ranges: usize,
) -> anyhow::Result<Vec<String>> {
    let properties = DocumentProperties {
        document_name: "poster.pdf".into(),
        content_type: "application/pdf".into(),
        size_bytes: i64::try_from(ranges * RANGE_BYTES)?,
    };
    let client = service.client()?;
    let mut paths = Vec::new();
    for document in documents.add_documents(count).await? {
        let url = Url::parse(&client.create(&document, &properties).await?.upload_url)?;
        paths.push(format!("{}?{}", url.path(), url.query().unwrap_or_default()));
    }
    Ok(paths)
}

/// The headers of a PUT that sends a range.
pub fn content_range(start: usize, length: usize, total: usize) -> String {
    format!("Content-Range: bytes {start}-{}/{total}\r\n", start + length - 1)
}

/// Uploads each session on a connection of its own, at once. Returns the seconds.
async fn upload(address: SocketAddr, paths: Vec<String>, ranges: usize) -> anyhow::Result<f64> {
    at_once(paths.len(), move |number, bytes| {
        let mut http = Http::connect(address)?;
        let total = ranges * RANGE_BYTES;
        for range in 0..ranges {
            let headers = content_range(range * RANGE_BYTES, RANGE_BYTES, total);
            let answer = http.request("PUT", &paths[number], &headers, bytes)?.ok()?;
            let expected = if range + 1 == ranges { 201 } else { 202 };
            ensure!(answer.status == expected, "{answer:?}");
        }
        Ok(())
    })
    .await
}

async fn bare_loops(folder: &Path, count: usize, ranges: usize) -> anyhow::Result<f64> {
    let parent = folder.join("bare-loops");
    fs::create_dir(&parent)?;
    let folders = parent.clone();
    let write =
        move |number: usize, bytes: &[u8]| bare_loop::write_synced(&folders.join(number.to_string()), bytes, ranges);
    let seconds = at_once(count, write).await?;
    fs::remove_dir_all(&parent)?;
    Ok(seconds)
}

/// Runs work on threads at once, each with its number and the bytes of a range. Returns the seconds until all have ended.
pub async fn at_once(
    count: usize,
    work: impl Fn(usize, &[u8]) -> anyhow::Result<()> + Send + Sync + 'static,
) -> anyhow::Result<f64> {
    let run = move || {
        let (work, bytes) = (Arc::new(work), Arc::new(vec![42; RANGE_BYTES]));
        let begun = Instant::now();
        let threads = (0..count).map(|number| {
            let (work, bytes) = (Arc::clone(&work), Arc::clone(&bytes));
            thread::spawn(move || work(number, &bytes))
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().map_err(|_| anyhow::anyhow!("a thread has panicked"))??;
        }
        Ok(begun.elapsed().as_secs_f64())
    };
    spawn_blocking(run).await?
}

/// Uploads to the service and to a peer, alternating. A peer that is not there is stated as such.
async fn beside(bench: &Bench, peer: Peer, ranges: usize, rounds: usize) -> Figure {
    let name = format!("upload ÷ {}", peer.name);
    let program = match peer.program {
        Ok(program) => program,
        Err(reason) => return Figure::missing(name, reason),
    };
    let compare = async {
        let mut documents = bench.system.reset().await?;
        let service = bench.system.serve().await?;
        warm_up(&bench.system, &service, &mut documents).await?;
        let folder = bench.system.folder().join("peer");
        fs::create_dir(&folder)?;
        let running = peer.protocol.start(&program, &folder).await?;
        let mib = (ranges * RANGE_BYTES / MIB) as f64;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        running.upload(4).await?;
        for _ in 0..rounds {
            write_dirty_pages().await?;
            let sessions = create(&service, &mut documents, 1, ranges).await?;
            ours.push(mib / upload(service.rest, sessions, ranges).await?);
            fs::remove_dir_all(bench.system.objects())?;
            write_dirty_pages().await?;
            theirs.push(mib / running.upload(ranges).await?);
        }
        let version = running.version.clone();
        running.stop().await?;
        service.stop().await?;
        let ours = Series::new("upload", Unit::MibPerSecond, ours);
        let theirs = Series::new(peer.name, Unit::MibPerSecond, theirs);
        anyhow::Ok(Figure::ratio(name.clone(), ours, theirs).with_note(format!("{version}; syncs nothing")))
    };
    let compared = compare.await;
    let _ = fs::remove_dir_all(bench.system.folder().join("peer"));
    compared.unwrap_or_else(|error| Figure::missing(name, format!("failed: {error:#}")))
}

/// Neither side pays for what the other one has left to write.
async fn write_dirty_pages() -> anyhow::Result<()> {
    Ok(spawn_blocking(nix::unistd::sync).await?)
}

/// The process that all of Postgres' processes are children of.
async fn postgres_pid(documents: &mut Documents) -> anyhow::Result<i32> {
    let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(documents.connection()).await?;
    proc::parent(backend)
}
