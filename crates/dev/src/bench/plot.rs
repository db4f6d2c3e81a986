//! The plots: bars with their spread, as SVG that is readable on a light and on a dark page.

use std::fmt::Write;

use super::{
    markdown::{bar_text, values},
    report::{Bar, Figure, Report, Unit},
};

pub(crate) const WIDTH: f64 = 860.0;

/// Where the bars begin and end. Their names are to the left, their values to the right.
const LEFT: f64 = 330.0;
const RIGHT: f64 = 620.0;

const TOP: f64 = 64.0;
const LINE: f64 = 26.0;

/// The name of a bar has at most this many characters.
const NAME: usize = 48;

pub(crate) const STYLE: &str = "\
svg { font: 13px system-ui, sans-serif }
.back { fill: #ffffff } text { fill: #1f2328 } .quiet { fill: #59636e }
.met { fill: #2f7ed8 } .missed { fill: #d9622b } .line { stroke: #59636e } .spread { stroke: #1f2328; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 }
.met { fill: #4a90e2 } .missed { fill: #e8793f } .line { stroke: #9198a1 } .spread { stroke: #e6edf3 }
}";

/// A bar of a plot.
struct Drawn {
    name: String,
    value: f64,
    spread: (f64, f64),
    text: String,
    is_missed: bool,
}

/// From a value to a place between 0 and 1.
#[derive(Clone, Copy)]
enum Scale {
    /// From an eighth to eight times.
    Logarithmic,
    /// From 0 to this.
    Linear(f64),
}

/// How far each value is from its bar, as a factor.
pub fn margins(report: &Report) -> String {
    let drawn = figures(report).filter_map(|(number, figure)| {
        let bar = figure.bar?;
        let (smallest, largest) = figure.series.spread()?;
        let spread = match bar {
            Bar::AtLeast(bar) => (smallest / bar, largest / bar),
            Bar::AtMost(bar) => (bar / largest, bar / smallest),
        };
        Some(Drawn {
            name: format!("{number} {}", figure.series.name),
            value: figure.margin()?,
            spread,
            text: format!("{} · {}", median(figure), bar_text(bar, figure.series.unit)),
            is_missed: figure.misses_bar(),
        })
    });
    let title = "Distance from the bar: to the right of the line is better, logarithmic";
    draw(title, "its bar", &drawn.collect::<Vec<_>>(), Scale::Logarithmic)
}

/// The ratios of rows 1 to 6: the service against what it could reach at most, and against others.
pub fn limits(report: &Report) -> String {
    let ratios = figures(report).filter(|(number, figure)| *number <= 6 && figure.series.unit == Unit::Ratio);
    let drawn = ratios.filter_map(|(number, figure)| {
        Some(Drawn {
            name: format!("{number} {}", figure.series.name),
            value: figure.series.median()?,
            spread: figure.series.spread()?,
            text: median(figure),
            is_missed: figure.misses_bar(),
        })
    });
    let drawn: Vec<Drawn> = drawn.collect();
    let largest = drawn.iter().map(|drawn| drawn.spread.1).fold(1.2, f64::max);
    draw("The service ÷ its limit, in the same run", "as fast", &drawn, Scale::Linear(largest))
}

fn figures(report: &Report) -> impl Iterator<Item = (u8, &Figure)> {
    let measured = report.rows.iter().filter_map(|row| Some((row.number, row.outcome.as_ref().ok()?)));
    measured.flat_map(|(number, figures)| figures.iter().map(move |figure| (number, figure)))
}

fn median(figure: &Figure) -> String {
    let values = values(&figure.series);
    values.split(" (").next().unwrap_or_default().to_owned()
}

fn draw(title: &str, line: &str, bars: &[Drawn], scale: Scale) -> String {
    let height = TOP + LINE * bars.len() as f64 + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{title}</title>\n<style>\n{STYLE}\n</style>\n\
         <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n\
         <text x=\"14\" y=\"26\" font-weight=\"600\">{title}</text>\n"
    );
    let one = scale.place(1.0);
    let _ = writeln!(svg, "<text class=\"quiet\" x=\"{one:.1}\" y=\"52\" text-anchor=\"middle\">{line}</text>");
    let begin = match scale {
        Scale::Logarithmic => one,
        Scale::Linear(_) => LEFT,
    };
    for (index, bar) in bars.iter().enumerate() {
        draw_bar(&mut svg, bar, TOP + LINE * index as f64, begin, scale);
    }
    let bottom = height - 8.0;
    let _ = writeln!(svg, "<line class=\"line\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"58\" y2=\"{bottom}\"/>\n</svg>");
    svg
}

/// A bar between `begin` and its value, with its name and its spread.
fn draw_bar(svg: &mut String, bar: &Drawn, y: f64, begin: f64, scale: Scale) {
    let end = scale.place(bar.value);
    let (from, to) = (begin.min(end), begin.max(end));
    let (smallest, largest) = (scale.place(bar.spread.0), scale.place(bar.spread.1));
    let class = if bar.is_missed { "missed" } else { "met" };
    let (text, middle) = (y + 16.0, y + 11.5);
    let name = escape(&shortened(&bar.name));
    let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{text}\" text-anchor=\"end\">{name}</text>", LEFT - 12.0);
    let width = (to - from).max(1.0);
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"15\" rx=\"2\"/>",
        y + 4.0
    );
    let _ = writeln!(
        svg,
        "<line class=\"spread\" x1=\"{smallest:.1}\" x2=\"{largest:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>"
    );
    let value = escape(&bar.text);
    let _ = writeln!(svg, "<text class=\"quiet\" x=\"{:.1}\" y=\"{text}\">{value}</text>", RIGHT + 14.0);
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        let part = match self {
            Self::Logarithmic => (value.max(1e-9).log2() + 3.0) / 6.0,
            Self::Linear(largest) => value / largest,
        };
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    name.chars().take(NAME - 1).chain(['…']).collect()
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
