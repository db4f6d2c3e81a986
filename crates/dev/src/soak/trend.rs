//! Whether something grows.

use super::{
    samples::Samples,
    terms::{KEPT_LONGER, SETTLED},
};

/// Nothing is judged that was measured for less than this, in seconds.
const SHORTEST: f64 = 8.0 * 60.0;

/// The mean of the last quarter may be so many times that of the second one, besides an allowance.
const FACTOR: f64 = 1.25;

/// What is measured, the unit, and the allowance. `None` is not judged: it follows from the load.
const THINGS: [(&str, &str, Option<f64>); 16] = [
    (".memory", " MiB", Some(16.0)),
    (".descriptors", "", Some(20.0)),
    (".threads", "", Some(8.0)),
    (".database-connections", "", Some(4.0)),
    (".connections", "", Some(15.0)),
    (".tasks", "", Some(60.0)),
    (".permits", "", Some(4.0)),
    (".active-sessions", "", Some(40.0)),
    (".reclaim-queue", "", Some(20.0)),
    (".live", "", Some(200.0)),
    (".dead", "", Some(500.0)),
    ("store.kib", " KiB", Some(20_000.0)),
    (".kib", " KiB", Some(512.0)),
    (".files", "", Some(100.0)),
    (".cpu", " %", None),
    ("load.", "", None),
];

/// How a column changes over time.
#[derive(Debug)]
pub struct Trend {
    pub column: String,
    pub unit: &'static str,
    /// The means of the first and of the last quarter.
    pub first: f64,
    pub last: f64,
    pub peak: f64,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Flat,
    Grows,
    /// It was measured for too short a time, nothing is ever deleted from it, or it follows from the load.
    NotJudged,
}

/// The trend of every column that has values.
pub fn all(samples: &Samples) -> Vec<Trend> {
    samples.columns.iter().filter_map(|column| of(samples, column)).collect()
}

/// Rows and files become more until their retention is reached: they are judged from then on.
pub fn of(samples: &Samples, column: &str) -> Option<Trend> {
    let mut measured = samples.of(column);
    let peak = measured.iter().map(|(_, value)| *value).reduce(f64::max)?;
    let settled = SETTLED.as_secs_f64();
    let is_kept = column.starts_with("table.") || column.starts_with("store.");
    if is_kept && samples.seconds() > settled {
        measured.retain(|(second, _)| *second >= settled);
    }
    let lasted = measured.last()?.0 - measured.first()?.0;
    let quarter = (measured.len() / 4).max(1);
    let mean = |from: usize| {
        let values: Vec<f64> = measured.iter().skip(from).take(quarter).map(|(_, value)| *value).collect();
        values.iter().sum::<f64>() / values.len().max(1) as f64
    };
    let (first, second, last) = (mean(0), mean(quarter), mean(measured.len() - quarter));
    let (_, unit, allowance) = *THINGS.iter().find(|(suffix, ..)| column.contains(suffix))?;
    let is_kept_longer = column.strip_prefix("table.").is_some_and(|table| table.starts_with(KEPT_LONGER));
    let verdict = match allowance {
        Some(allowance) if lasted >= SHORTEST && !is_kept_longer => {
            if last <= second * FACTOR + allowance {
                Verdict::Flat
            } else {
                Verdict::Grows
            }
        }
        _ => Verdict::NotJudged,
    };
    Some(Trend { column: column.into(), unit, first, last, peak, verdict })
}
