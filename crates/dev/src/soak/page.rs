//! The section of reliability.md.

use std::fmt::Write;

use super::{
    counts::Counts,
    plot::tables_in_use,
    samples::Samples,
    terms::{KEPT_LONGER, SETTLED},
    trend::{self, Trend, Verdict},
};

const BEGIN: &str = "<!-- soak:begin -->";
const END: &str = "<!-- soak:end -->";

/// The section's own text, without its markers.
pub fn section(setting: &[(&str, String)], samples: &Samples, counts: Option<&Counts>) -> String {
    let trends = trend::all(samples);
    let mut text = String::from("\n| | |\n|---|---|\n");
    let (minutes, often) = (samples.seconds() / 60.0, samples.rows.len());
    for (name, value) in setting {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    let _ = writeln!(text, "| Length | {minutes:.0} minutes, measured {often} times |");
    if let Some(counts) = counts {
        text.push_str(&counted(counts));
    }
    text.push_str(&verdicts(&trends));
    text.push_str("\n| | first quarter | last quarter | peak | |\n|---|---|---|---|---|\n");
    for trend in
        trends.iter().filter(|trend| !trend.column.starts_with("table.") && !trend.column.starts_with("load.c"))
    {
        let Trend { column, unit, first, last, peak, verdict } = trend;
        let (name, word) = (column.replace('.', ": ").replace('-', " "), word(*verdict));
        let _ = writeln!(text, "| {name} | {first:.1}{unit} | {last:.1}{unit} | {peak:.1}{unit} | {word} |");
    }
    text.push_str("\n| table | live rows | dead rows | KiB with indexes |\n|---|---|---|---|\n");
    for table in tables_in_use(samples) {
        let cell = |what: &str| {
            let of_table = trends.iter().find(|trend| trend.column == format!("table.{table}.{what}"));
            of_table.map_or_else(String::new, |Trend { first, last, peak, verdict, .. }| {
                format!("{first:.0} → {last:.0}, peak {peak:.0} {}", word(*verdict)).trim_end().to_owned()
            })
        };
        let _ = writeln!(text, "| `{table}` | {} | {} | {} |", cell("live"), cell("dead"), cell("kib"));
    }
    for (name, title) in [("replicas", "The replicas"), ("rows", "Rows"), ("space", "Space")] {
        let _ = writeln!(text, "\n![{title} over time](images/soak-{name}.svg)");
    }
    text
}

fn verdicts(trends: &[Trend]) -> String {
    let count = |verdict| trends.iter().filter(|trend| trend.verdict == verdict).count();
    let (flat, grows) = (count(Verdict::Flat), count(Verdict::Grows));
    if flat + grows == 0 {
        return "\nThe run was too short to judge whether something grows.\n".into();
    }
    let minutes = SETTLED.as_secs() / 60;
    format!(
        "\n{flat} things are flat, {grows} grow: the mean of the last quarter is compared with that of the second one. \
         Rows and files\nare judged from minute {minutes} on, when the first of them have been kept long enough. Not \
         judged: CPU, what the load\nitself counts, and the tables of the audit trail (`{KEPT_LONGER}_…`), which is kept \
         for 31 days at least.\n"
    )
}

fn counted(counts: &Counts) -> String {
    let list = |counts: Vec<(String, u64)>| {
        counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    };
    let calls = list(counts.calls.borrow().iter().map(|(name, count)| (name.clone(), *count)).collect());
    let reasons = |counts: &std::cell::RefCell<std::collections::BTreeMap<&'static str, u64>>| {
        list(counts.borrow().iter().map(|(name, count)| (format!("`{name}`"), *count)).collect())
    };
    let (scenes, left_out, repeats) = (counts.scenes.get(), counts.left_out.get(), counts.repeats.get());
    format!(
        "| Load | {scenes} scenes of a few calls each; {left_out} were left out to bound the load |\n\
         | Calls | {}: {calls} |\n\
         | Refused by limits | {} |\n\
         | Refused as expected | {} |\n\
         | Without an answer, and made again | {repeats} |\n",
        counts.total(),
        reasons(&counts.limits),
        reasons(&counts.refusals),
    )
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Flat => "flat",
        Verdict::Grows => "**grows**",
        Verdict::NotJudged => "",
    }
}

/// The page with the section between its markers, which are added at the end of a page that has none.
pub fn with_section(page: &str, section: &str) -> String {
    let marked = page.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    match marked {
        Some((before, after)) => format!("{before}{BEGIN}\n{section}\n{END}{after}"),
        None => format!("{page}{BEGIN}\n{section}\n{END}\n"),
    }
}
