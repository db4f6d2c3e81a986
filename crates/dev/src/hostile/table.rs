//! The table of `docs/reliability.md`, and a row for the terminal.

use std::{fmt::Write, fs, path::Path};

use anyhow::Context;
use serde_json::Value;

use super::{ACTS, Act, attacker::NOT_CONNECTED, scene::Outcome};

const BEGIN: &str = "<!-- hostile:begin -->";
const END: &str = "<!-- hostile:end -->";

const HEAD: &str = "\
| act, and the command that tries it | the attacker | the service | others | how it ends |
|---|---|---|---|---|
";

/// The least that a delete may take during an act, in milliseconds, however fast it is otherwise.
const LEAST_BOUND: f64 = 50.0;

/// How many kinds of ends and answers a row has.
const KINDS: usize = 4;

/// An act, and what was measured or why it could not be.
pub struct Row {
    pub act: Act,
    pub outcome: Result<Outcome, String>,
}

impl Row {
    pub fn is_failure(&self, is_quick: bool) -> bool {
        self.outcome.as_ref().map_or(true, |outcome| !outcome.broken(is_quick).is_empty())
    }
}

impl Outcome {
    /// The slowest p99 of deletes that is allowed, in milliseconds.
    fn bound(&self) -> f64 {
        (2.0 * self.idle.at(99.0)).max(LEAST_BOUND)
    }

    /// The bounds that do not hold. In a quick run there are too few deletes for one on their latency.
    fn broken(&self, is_quick: bool) -> Vec<&'static str> {
        let mut broken = Vec::new();
        if !is_quick && self.during.at(99.0) > self.bound() {
            broken.push("deletes are too slow");
        }
        if self.uploads.finished < self.uploads.begun {
            broken.push("uploads did not finish");
        }
        if self.cost.returned.is_none() {
            broken.push("the service is not idle afterwards");
        }
        broken
    }
}

/// Puts a row into the table of a page, in place of the same act's; the others stay.
pub fn write(page: &Path, setting: &[(String, String)], row: &Row, is_quick: bool) -> anyhow::Result<()> {
    let old = if page.exists() { fs::read_to_string(page)? } else { format!("{BEGIN}\n{END}\n") };
    let parts = old.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let (before, (table, after)) = parts.with_context(|| format!("{} has no {BEGIN} … {END}", page.display()))?;
    let mut new = format!("{before}{BEGIN}\n{}\n\n{HEAD}", setting_line(setting));
    for act in ACTS {
        if act.name == row.act.name {
            new.push_str(&markdown(row, is_quick));
        } else if let Some(line) = table.lines().find(|line| line.starts_with(&key(act))) {
            let _ = writeln!(new, "{line}");
        }
    }
    let _ = write!(new, "{END}{after}");
    fs::write(page, new).with_context(|| page.display().to_string())
}

fn setting_line(setting: &[(String, String)]) -> String {
    let lines = setting.iter().map(|(name, value)| format!("{name}: {value}"));
    format!("{}.", lines.collect::<Vec<_>>().join(". "))
}

/// What the line of an act begins with.
fn key(act: Act) -> String {
    format!("| `print-upload-dev hostile --only {}` ", act.name)
}

fn markdown(row: &Row, is_quick: bool) -> String {
    let cells = match &row.outcome {
        Ok(outcome) => cells(row.act, outcome, is_quick),
        Err(error) => ["", "", "", &format!("**failed**: {error}")].map(str::to_owned),
    };
    let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    format!("{}{} | {} |\n", key(row.act), row.act.what, cells.join(" | "))
}

/// A row for the terminal.
pub fn plain(row: &Row, is_quick: bool) -> String {
    let outcome = match &row.outcome {
        Ok(outcome) => outcome,
        Err(error) => return format!("{}\n  FAILED: {error}\n", row.act.name),
    };
    let mut text = format!("{}\n", row.act.name);
    for (name, cell) in ["attacker", "service", "others", "end"].iter().zip(cells(row.act, outcome, is_quick)) {
        let _ = writeln!(text, "  {name}: {}", cell.replace("**", ""));
    }
    text
}

/// The attacker, the service, others, and the end.
fn cells(act: Act, outcome: &Outcome, is_quick: bool) -> [String; 4] {
    let Outcome { attacker, cost, idle, during, deletes, uploads, new_connections, .. } = outcome;
    let (seconds, units) = (number(attacker, "seconds"), number(attacker, "units"));
    let rate = |count: f64| count / seconds.max(0.001);
    let repeated = match units {
        0.0 => String::new(),
        _ => format!("{} {} ({}/s), ", thousands(units), act.unit, thousands(rate(units))),
    };
    let cost_of_attacker = format!(
        "nice 19: {} connections, {repeated}{} sent ({}/s), {:.1} s CPU in {seconds:.0} s",
        thousands(number(attacker, "connections")),
        bytes(number(attacker, "bytes")),
        bytes(rate(number(attacker, "bytes"))),
        number(attacker, "cpuSeconds"),
    );
    let cost_of_service =
        format!("+{:.1} MiB, {} descriptors, {:.1} s CPU", cost.mib.max(0.0), cost.descriptors, cost.cpu_seconds);
    let mut others = format!(
        "delete p99 {:.1} → {:.1} ms (p50 {:.1} → {:.1}, {deletes} deletes; bound {:.0} ms); {} of {} uploads, \
         the slowest {:.1} s; {} of {} new connections",
        idle.at(99.0),
        during.at(99.0),
        idle.at(50.0),
        during.at(50.0),
        outcome.bound(),
        uploads.finished,
        uploads.begun,
        uploads.seconds,
        new_connections.served,
        new_connections.tried,
    );
    for broken in outcome.broken(is_quick) {
        let _ = write!(others, "; **{broken}**");
    }
    if let Some(error) = uploads.errors.first() {
        let _ = write!(others, " ({error})");
    }
    let returned =
        cost.returned.map_or_else(|| "not idle after half a minute".into(), |s| format!("idle after {s:.1} s"));
    [cost_of_attacker, cost_of_service, others, format!("{}{returned}", ends(attacker))]
}

/// What became of the connections and calls of the attacker.
fn ends(attacker: &Value) -> String {
    let mut kinds = Vec::new();
    let mut open = number(attacker, "connections");
    for ending in attacker["endings"].as_array().into_iter().flatten() {
        let (first, last) = (number(ending, "first"), number(ending, "last"));
        let how = ending["how"].as_str().unwrap_or_default();
        if !how.starts_with(NOT_CONNECTED) {
            open -= number(ending, "count");
        }
        let when = if last - first < 0.5 { format!("{last:.1} s") } else { format!("{first:.1}–{last:.1} s") };
        kinds.push((number(ending, "count"), format!("{how} after {when}")));
    }
    for (answer, count) in attacker["answers"].as_object().into_iter().flatten() {
        kinds.push((count.as_f64().unwrap_or_default(), answer.clone()));
    }
    if open > 0.0 {
        kinds.push((open, "connections open until the attacker stopped".into()));
    }
    kinds.sort_by(|one, other| other.0.total_cmp(&one.0));
    let kinds = kinds.iter().take(KINDS).map(|(count, kind)| format!("{} × {kind}; ", thousands(*count)));
    kinds.collect()
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_default()
}

fn bytes(bytes: f64) -> String {
    const KIB: f64 = 1024.0;
    match bytes {
        _ if bytes >= KIB * KIB => format!("{} MiB", thousands(bytes / KIB / KIB)),
        _ if bytes >= KIB => format!("{} KiB", thousands(bytes / KIB)),
        _ => format!("{bytes:.0} B"),
    }
}

/// A whole number, with commas between thousands.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
