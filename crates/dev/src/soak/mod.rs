//! Mixed load against a whole system for an hour: two replicas on one durable Postgres and one folder, each a process
//! of its own. Every answer is checked, and everything that could grow is measured.

mod api;
mod calls;
mod content;
mod counts;
mod grpc;
mod load;
mod others;
mod page;
mod plot;
mod rest;
mod sampler;
mod samples;
mod scene;
mod terms;
#[cfg(test)]
mod tests;
mod trend;
mod uploads;
mod world;

use std::{
    cell::{Cell, RefCell},
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::Instant,
};

use anyhow::{Context, bail};
use tokio::{
    task::LocalSet,
    time::{MissedTickBehavior, interval},
};

use self::{
    counts::Counts,
    sampler::Sampler,
    trend::{Trend, Verdict},
    world::World,
};
pub use self::{samples::Samples, terms::Terms};
use crate::{
    bench::{
        proc,
        system::{ServeOptions, Service, System},
        version_of,
    },
    sample,
};

/// How to run it.
#[derive(Debug)]
pub struct Options {
    /// The program that serves.
    pub program: PathBuf,
    pub terms: Terms,
    /// The folder for reliability.md and images/.
    pub output: PathBuf,
    /// The file for the samples.
    pub csv: PathBuf,
    pub seed: u64,
}

/// Runs until the terms have passed, an answer is wrong, or `interrupted` completes. Then writes what was measured.
/// Fails if an answer was wrong, or if something grows.
pub async fn run(options: &Options, interrupted: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut setting = setting(&options.program).await?;
    let system = System::start(&options.program).await?;
    let flags = options.terms.flags(sample::CATALOG_CLIENT);
    let serve = |name| {
        let options = ServeOptions { name, flags: &flags, is_of_one_user: false, ..ServeOptions::default() };
        system.serve_with(options)
    };
    let services = [serve("replica-0").await?, serve("replica-1").await?];
    let [first, second] = &services;
    let world = Rc::new(World::new(&system, [first, second], options.terms).await?);
    let samples = RefCell::default();
    let running = run_load(options, &system, [first, second], &world, &samples);
    let ran = LocalSet::new()
        .run_until(async {
            tokio::pin!(running);
            tokio::select! {
                ran = &mut running => return ran,
                () = interrupted => world.stopping.cancel(),
            }
            running.await
        })
        .await;
    let samples = samples.into_inner();
    setting.push(match &ran {
        Ok(()) => ("Wrong answers", "0".into()),
        Err(error) => ("**Failed**", format!("{error:#}").replace(['\n', '|'], " ")),
    });
    let written = write(&samples, &setting, Some(&world.counts), &options.output);
    if ran.is_err() {
        print_logs(&system);
    }
    for service in services {
        service.stop().await?;
    }
    system.stop().await?;
    ran?;
    written?;
    judge(&samples)
}

/// Writes the plots and the section again, from the samples of a run. The calls are not counted there.
pub fn write_again(csv: &Path, output: &Path) -> anyhow::Result<()> {
    let samples = Samples::read(csv)?;
    write(&samples, &[], None, output)?;
    judge(&samples)
}

/// Measures as long as the load runs.
async fn run_load(
    options: &Options,
    system: &System,
    services: [&Service; 2],
    world: &Rc<World>,
    samples: &RefCell<Samples>,
) -> anyhow::Result<()> {
    let is_too_busy = Cell::new(false);
    let mut sampler = Sampler::new(system, services, world).await?;
    let begun = Instant::now();
    let measure = async {
        let mut ticks = interval(options.terms.sample_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let values = sampler.sample(&is_too_busy).await.context("measuring")?;
            let second = begun.elapsed().as_secs_f64();
            samples.borrow_mut().add(second, values, &options.csv)?;
            print_progress(second, &samples.borrow(), &world.counts);
        }
    };
    tokio::select! {
        played = load::run(world, &is_too_busy, options.seed) => played,
        failed = measure => failed,
    }
}

/// A line each minute.
fn print_progress(second: f64, samples: &Samples, counts: &Counts) {
    if samples.rows.len() % 6 != 1 {
        return;
    }
    let latest = |column: &str| samples.of(column).last().map_or(0.0, |(_, value)| *value);
    println!(
        "{:>4.0} s  {} calls, {} refused by limits, {} left out; {:.0} and {:.0} MiB, {} and {} tasks, {:.0} files",
        second,
        counts.total(),
        counts.limited(),
        counts.left_out.get(),
        latest("replica-0.memory"),
        latest("replica-1.memory"),
        latest("replica-0.tasks"),
        latest("replica-1.tasks"),
        latest("store.files"),
    );
}

fn write(samples: &Samples, setting: &[(&str, String)], counts: Option<&Counts>, output: &Path) -> anyhow::Result<()> {
    let images = output.join("images");
    fs::create_dir_all(&images).with_context(|| images.display().to_string())?;
    fs::write(images.join("soak-replicas.svg"), plot::replicas(samples))?;
    fs::write(images.join("soak-rows.svg"), plot::rows(samples))?;
    fs::write(images.join("soak-space.svg"), plot::space(samples))?;
    let file = output.join("reliability.md");
    let page = fs::read_to_string(&file).unwrap_or_default();
    fs::write(&file, page::with_section(&page, &page::section(setting, samples, counts)))?;
    println!("written to {}", file.display());
    Ok(())
}

/// Fails if something grows.
fn judge(samples: &Samples) -> anyhow::Result<()> {
    let grows = trend::all(samples).into_iter().filter(|trend| trend.verdict == Verdict::Grows);
    let grows: Vec<String> =
        grows.map(|Trend { column, last, peak, .. }| format!("{column} ({last:.0}, peak {peak:.0})")).collect();
    if grows.is_empty() {
        return Ok(());
    }
    bail!("not flat: {}", grows.join(", "))
}

/// The folder is removed at the end: the last lines of the replicas' logs help to understand a failure.
fn print_logs(system: &System) {
    for name in ["replica-0", "replica-1"] {
        let log = fs::read_to_string(system.folder().join(format!("{name}.log"))).unwrap_or_default();
        let worst =
            log.lines().filter(|line| line.contains(r#""level":"ERROR""#) || line.contains(r#""level":"WARN""#));
        let worst: Vec<&str> = worst.collect();
        for line in worst.iter().skip(worst.len().saturating_sub(20)) {
            eprintln!("{name}: {line}");
        }
    }
}

async fn setting(program: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("Date", time::OffsetDateTime::now_utc().date().to_string()),
        ("Program", version_of(program).await?),
        ("Machine", proc::processor()),
        ("System", format!("{}, files on {}", proc::kernel(), proc::file_system(&std::env::temp_dir()))),
    ])
}
