//! The report as text: a page in Markdown, and a row for the terminal.

use std::fmt::Write;

use super::report::{Bar, Figure, Report, Row, Series, Unit};

/// What follows this line in the page was written by hand, and is kept when the page is written again.
pub const BY_HAND: &str = "<!-- From here on written by hand: the bench keeps it. -->";

const INTRODUCTION: &str = "\
# Benchmarks

`make bench` has measured this and written this page. The client, the service and Postgres share one machine. The service
is a process of its own, with its usual options, its log at INFO in a file, real tokens and real sockets. Postgres and the
files are durable. The limit is measured in the same run, alternating with the service: the ratios say more than the
absolute figures, which move with the machine's speed.

A value is the median of the rounds, with the smallest and the largest one.
";

/// The page, with what was written by hand at its end.
pub fn render(report: &Report, by_hand: &str) -> String {
    let mut page = format!("{INTRODUCTION}\n| | |\n|---|---|\n");
    for (name, value) in &report.setting {
        let _ = writeln!(page, "| {name} | {} |", cell(value));
    }
    page.push_str("\n![How far each value is from its bar](images/benchmarks-bars.svg)\n");
    page.push_str("\n![The service against its limits](images/benchmarks-limits.svg)\n");
    page.push_str("\n| # | measured | median (spread) | bar | beside it |\n|---|---|---|---|---|\n");
    for row in &report.rows {
        let _ = writeln!(page, "| **{}** | **{}** | | | |", row.number, row.title);
        match &row.outcome {
            Err(error) => {
                let _ = writeln!(page, "| | failed | **failed** | | {} |", cell(error));
            }
            Ok(figures) => figures.iter().for_each(|figure| page.push_str(&table_row(figure))),
        }
    }
    let _ = write!(page, "\n{BY_HAND}\n{by_hand}");
    page
}

/// A row for the terminal.
pub fn plain(row: &Row) -> String {
    let mut text = format!("{:>2} {}\n", row.number, row.title.replace('`', ""));
    match &row.outcome {
        Err(error) => {
            let _ = writeln!(text, "   FAILED: {error}");
        }
        Ok(figures) => {
            for figure in figures {
                let _ = write!(text, "   {}: {}", figure.series.name, values(&figure.series));
                if let Some(bar) = figure.bar {
                    let missed = if figure.misses_bar() { " MISSED" } else { "" };
                    let _ = write!(text, " [bar {}{missed}]", bar_text(bar, figure.series.unit));
                }
                let _ = writeln!(text, "  {}", beside(figure));
            }
        }
    }
    text
}

fn table_row(figure: &Figure) -> String {
    let Figure { series, bar, .. } = figure;
    let bar = bar.map(|bar| {
        let missed = if figure.misses_bar() { " **missed**" } else { "" };
        format!("{}{missed}", bar_text(bar, series.unit))
    });
    let (name, beside) = (cell(&series.name), cell(&beside(figure)));
    format!("| | {name} | {} | {} | {beside} |\n", values(series), bar.unwrap_or_default())
}

/// What was measured beside a value, and its note.
fn beside(figure: &Figure) -> String {
    let series = figure.beside.iter().map(|series| format!("{} {}", series.name, values(series)));
    series.chain(figure.note.clone()).collect::<Vec<_>>().join("; ")
}

/// The median, and the spread if there are several values.
pub fn values(series: &Series) -> String {
    let (Some(median), Some((smallest, largest))) = (series.median(), series.spread()) else { return "–".into() };
    let spread =
        if series.values.len() > 1 { format!(" ({}–{})", number(smallest), number(largest)) } else { String::new() };
    format!("{}{}{spread}", number(median), suffix(series.unit))
}

pub fn bar_text(bar: Bar, unit: Unit) -> String {
    let (sign, bar) = match bar {
        Bar::AtLeast(bar) => ('≥', bar),
        Bar::AtMost(bar) => ('≤', bar),
    };
    let bar = if bar >= 1000.0 { number(bar) } else { bar.to_string() };
    format!("{sign} {bar}{}", suffix(unit))
}

fn suffix(unit: Unit) -> &'static str {
    match unit {
        Unit::Ratio | Unit::Count => "",
        Unit::Milliseconds => " ms",
        Unit::PerSecond => "/s",
        Unit::Mib => " MiB",
        Unit::MibPerSecond => " MiB/s",
        Unit::CpuSecondsPerGib => " s/GiB",
        Unit::Percent => " %",
    }
}

/// Three digits or more, with commas between thousands.
fn number(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A text within a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
