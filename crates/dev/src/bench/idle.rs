//! Row 13: what a replica costs that has nothing to do.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::sleep;

use super::{
    Bench, proc,
    report::{Bar, Figure, Series, Unit},
    statements::StatementLog,
};

/// How long the replica has been started before.
const SETTLED: Duration = Duration::from_secs(5);

/// How long it is watched in each round.
const WATCHED: Duration = Duration::from_secs(30);

pub async fn run(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let mut documents = bench.system.reset().await?;
    documents.add_sessions(bench.count(10_000, 100)).await?;
    documents.settle().await?;
    let mut log = StatementLog::begin(&bench.system, "print_upload").await?;
    let service = bench.system.serve().await?;
    sleep(bench.time(SETTLED)).await;
    let watched = bench.time(WATCHED);
    let seconds = watched.as_secs_f64();
    let (mut statements, mut cpu, mut most) = (Vec::new(), Vec::new(), BTreeMap::new());
    for _ in 0..bench.options.rounds {
        log.read()?;
        let before = proc::cpu_seconds(service.process.id())?;
        sleep(watched).await;
        cpu.push((proc::cpu_seconds(service.process.id())? - before) / seconds * 100.0);
        let executed = log.read()?;
        statements.push(executed.len() as f64 / seconds);
        for statement in executed {
            *most.entry(beginning(&statement.text)).or_insert(0_usize) += 1;
        }
    }
    service.stop().await?;
    log.end().await?;
    let watched = seconds * bench.options.rounds as f64;
    let mut most: Vec<_> = most.into_iter().collect();
    most.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let most = most.into_iter().take(4).map(|(text, count)| format!("{:.2}/s `{text}`", count as f64 / watched));
    let note = most.collect::<Vec<_>>().join(", ");
    Ok(vec![
        Figure::new("idle, statements", Unit::PerSecond, statements).with_bar(Bar::AtMost(4.0)).with_note(note),
        Figure::new("idle, CPU of the service", Unit::Percent, cpu.clone())
            .with_bar(Bar::AtMost(0.5))
            .beside(Series::new("watched, each round", Unit::Milliseconds, vec![seconds * 1000.0])),
    ])
}

/// The first words of a statement.
fn beginning(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().take(12).collect();
    words.join(" ").replace(['|', '`'], " ")
}
