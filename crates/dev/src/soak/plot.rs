//! The plots: small panels with lines over time, as SVG that is readable on a light and on a dark page.

use std::fmt::Write;

use super::samples::Samples;
use crate::bench::plot::{STYLE, WIDTH, escape};

/// The lines of a panel, in the order of their colors.
const LINES: &str = "\
.a { stroke: #2f7ed8 } .b { stroke: #d9622b } .a, .b { fill: none; stroke-width: 1.5 }
.la { fill: #2f7ed8 } .lb { fill: #d9622b } .axis { stroke: #59636e; stroke-width: 0.5 }
@media (prefers-color-scheme: dark) {
.a { stroke: #4a90e2 } .b { stroke: #e8793f } .la { fill: #4a90e2 } .lb { fill: #e8793f }
}";

const TOP: f64 = 44.0;
const PANEL_HEIGHT: f64 = 132.0;
const PANEL_WIDTH: f64 = WIDTH / 2.0;

/// Where the lines of a panel are, from its upper left corner.
const LEFT: f64 = 64.0;
const RIGHT: f64 = PANEL_WIDTH - 18.0;
const ABOVE: f64 = 28.0;
const BELOW: f64 = PANEL_HEIGHT - 26.0;

/// Values over the same time.
pub struct Panel {
    pub title: String,
    /// At most two, each with its name and its column.
    pub lines: Vec<(&'static str, String)>,
}

impl Panel {
    /// The same of both replicas.
    fn of_replicas(title: &str, what: &str) -> Self {
        let line = |name, number| (name, format!("replica-{number}.{what}"));
        Self { title: title.into(), lines: vec![line("replica 0", 0), line("replica 1", 1)] }
    }
}

/// What the replicas hold.
pub fn replicas(samples: &Samples) -> String {
    let panels = [
        Panel::of_replicas("Resident memory, MiB", "memory"),
        Panel::of_replicas("Descriptors", "descriptors"),
        Panel::of_replicas("Threads", "threads"),
        Panel::of_replicas("Tasks", "tasks"),
        Panel::of_replicas("Connections of clients", "connections"),
        Panel::of_replicas("Connections to the database", "database-connections"),
        Panel::of_replicas("Permits held", "permits"),
        Panel::of_replicas("CPU, % of one core", "cpu"),
    ];
    draw("Two replicas", samples, &panels)
}

/// The rows of each table.
pub fn rows(samples: &Samples) -> String {
    let panel = |table: &str| Panel {
        title: format!("Rows of {table}"),
        lines: vec![("live", format!("table.{table}.live")), ("dead", format!("table.{table}.dead"))],
    };
    draw("Rows", samples, &tables_in_use(samples).map(panel).collect::<Vec<_>>())
}

/// The space that tables and files take.
pub fn space(samples: &Samples) -> String {
    let panel = |title: String, column: String| Panel { title, lines: vec![("", column)] };
    let mut panels: Vec<Panel> = tables_in_use(samples)
        .map(|table| panel(format!("{table} with its indexes, KiB"), format!("table.{table}.kib")))
        .collect();
    panels.push(panel("Objects in the store, KiB".into(), "store.kib".into()));
    panels.push(panel("Files in the store".into(), "store.files".into()));
    draw("Space", samples, &panels)
}

/// The tables whose rows change.
pub fn tables_in_use(samples: &Samples) -> impl Iterator<Item = &str> {
    let varies = |column: String| {
        let changes = samples.of(&column).windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
        changes > 1
    };
    samples.tables().filter(move |table| ["live", "dead"].iter().any(|what| varies(format!("table.{table}.{what}"))))
}

fn draw(title: &str, samples: &Samples, panels: &[Panel]) -> String {
    let height = TOP + PANEL_HEIGHT * panels.len().div_ceil(2) as f64 + 6.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{title}</title>\n<style>\n{STYLE}\n{LINES}\n</style>\n\
         <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n\
         <text x=\"14\" y=\"26\" font-weight=\"600\">{title}</text>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let (x, y) = ((index % 2) as f64 * PANEL_WIDTH, TOP + (index / 2) as f64 * PANEL_HEIGHT);
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">");
        draw_panel(&mut svg, samples, panel);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>");
    svg
}

fn draw_panel(svg: &mut String, samples: &Samples, panel: &Panel) {
    let lines: Vec<_> = panel.lines.iter().map(|(name, column)| (*name, samples.of(column))).collect();
    let highest = lines.iter().flat_map(|(_, values)| values).map(|(_, value)| *value).fold(1.0, f64::max);
    let seconds = samples.seconds().max(1.0);
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"18\">{}</text>", escape(&panel.title));
    let _ = writeln!(svg, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BELOW}\" y2=\"{BELOW}\"/>");
    let _ = writeln!(svg, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{ABOVE}\" y2=\"{ABOVE}\"/>");
    let scale = LEFT - 6.0;
    let _ = writeln!(
        svg,
        "<text class=\"quiet\" x=\"{scale}\" y=\"{}\" text-anchor=\"end\">{highest:.0}</text>",
        ABOVE + 4.0
    );
    let _ = writeln!(svg, "<text class=\"quiet\" x=\"{scale}\" y=\"{}\" text-anchor=\"end\">0</text>", BELOW + 4.0);
    let under = BELOW + 17.0;
    let minutes = seconds / 60.0;
    let _ =
        writeln!(svg, "<text class=\"quiet\" x=\"{RIGHT}\" y=\"{under}\" text-anchor=\"end\">{minutes:.0} min</text>");
    let mut label = RIGHT;
    for ((name, values), class) in lines.iter().zip(["a", "b"]).rev() {
        let points: Vec<String> = values
            .iter()
            .map(|(second, value)| {
                let x = LEFT + second / seconds * (RIGHT - LEFT);
                format!("{x:.1},{:.1}", BELOW - value / highest * (BELOW - ABOVE))
            })
            .collect();
        let _ = writeln!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
        if !name.is_empty() {
            let _ = writeln!(svg, "<text class=\"l{class}\" x=\"{label}\" y=\"18\" text-anchor=\"end\">{name}</text>");
            label -= 62.0;
        }
    }
}
