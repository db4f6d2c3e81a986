//! Row 8: the memory of ranges that are half sent and stall.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::sleep};

use super::{
    Bench,
    fill::Documents,
    http::Http,
    proc,
    report::{Bar, Figure, Series, Unit},
    system::{Service, WRITERS, wait_for_metric},
    uploads::{self, RANGE_BYTES, content_range},
};

/// A range has 8 MiB: two of the uploads'.
const STALLED_RANGE_BYTES: usize = 2 * RANGE_BYTES;

/// How long after the ranges have ended the memory is looked at again.
const AFTERWARDS: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Measured {
    idle: Vec<f64>,
    stalled: Vec<f64>,
    afterwards: Vec<f64>,
}

pub async fn memory(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let count = bench.count(256, 8);
    let mut measured = Measured::default();
    for _ in 0..bench.options.rounds {
        let mut documents = bench.system.reset().await?;
        // A new process: what an earlier round has left does not count.
        let service = bench.system.serve().await?;
        round(bench, &service, &mut documents, count, &mut measured).await?;
        service.stop().await?;
    }
    let stalled =
        Figure::new("memory, half sent and stalled", Unit::Mib, measured.stalled).with_bar(Bar::AtMost(256.0));
    let afterwards = Figure::new("memory, 10 s afterwards", Unit::Mib, measured.afterwards).with_bar(Bar::AtMost(96.0));
    Ok(vec![stalled.beside(Series::new("idle before", Unit::Mib, measured.idle)), afterwards])
}

async fn round(
    bench: &Bench,
    service: &Service,
    documents: &mut Documents,
    count: usize,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let pid = service.process.id();
    let paths = uploads::create(service, documents, count, 2).await?;
    measured.idle.push(proc::resident_mib(pid)?);
    let bytes: Arc<[u8]> = vec![7; RANGE_BYTES].into();
    let (address, half) = (service.rest, Arc::clone(&bytes));
    let stalled = spawn_blocking(move || {
        let begin = |path: &String| {
            let mut http = Http::connect(address)?;
            let headers = content_range(0, STALLED_RANGE_BYTES, STALLED_RANGE_BYTES);
            http.begin("PUT", path, &headers, STALLED_RANGE_BYTES)?;
            http.send(&half)?;
            Ok(http)
        };
        paths.iter().map(begin).collect::<anyhow::Result<Vec<Http>>>()
    });
    let mut stalled = stalled.await??;
    wait_for_metric(service.admin, WRITERS, count as f64).await?;
    sleep(bench.time(Duration::from_secs(2))).await;
    measured.stalled.push(proc::resident_mib(pid)?);
    let ended = spawn_blocking(move || {
        stalled.iter_mut().try_for_each(|http| http.send(&bytes))?;
        stalled.iter_mut().try_for_each(|http| http.answer()?.ok().map(drop))
    });
    ended.await??;
    sleep(bench.time(AFTERWARDS)).await;
    measured.afterwards.push(proc::resident_mib(pid)?);
    Ok(())
}
