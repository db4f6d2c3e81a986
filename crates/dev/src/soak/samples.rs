//! What was measured over time, as a table with a column for each thing. It is kept in a CSV while the run goes on.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use anyhow::{Context, ensure};

/// The first column.
const SECOND: &str = "second";

/// The measured values. A value that could not be measured is NaN.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    pub columns: Vec<String>,
    /// When each was measured, in seconds since the load began, and the values in the order of the columns.
    pub rows: Vec<(f64, Vec<f64>)>,
}

impl Samples {
    /// Adds a row, and appends it to the file. The first row names the columns.
    pub fn add(&mut self, second: f64, values: Vec<(String, f64)>, file: &Path) -> anyhow::Result<()> {
        let (names, values): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        if self.rows.is_empty() {
            fs::write(file, format!("{SECOND},{}\n", names.join(","))).with_context(|| file.display().to_string())?;
            self.columns = names;
        } else {
            ensure!(self.columns == names, "other things were measured than at the beginning: {names:?}");
        }
        let mut line = format!("{second:.1}");
        for value in &values {
            let _ = write!(line, ",{value}");
        }
        writeln!(File::options().append(true).open(file)?, "{line}")?;
        self.rows.push((second, values));
        Ok(())
    }

    /// Reads the file of a run.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let mut lines = text.lines();
        let names = lines.next().and_then(|line| line.strip_prefix(SECOND)?.strip_prefix(','));
        let columns: Vec<String> = names.context("not the samples of a run")?.split(',').map(str::to_owned).collect();
        let mut rows = Vec::new();
        for line in lines {
            let values = line.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>().context("a number")?;
            // The last line of a run that was killed may be incomplete.
            if values.len() == columns.len() + 1 {
                rows.push((values[0], values[1..].to_vec()));
            }
        }
        Ok(Self { columns, rows })
    }

    /// The times and values of a column, without those that could not be measured.
    pub fn of(&self, column: &str) -> Vec<(f64, f64)> {
        let Some(index) = self.columns.iter().position(|name| name == column) else { return Vec::new() };
        let values = self.rows.iter().map(|(second, values)| (*second, values[index]));
        values.filter(|(_, value)| value.is_finite()).collect()
    }

    /// How long was measured, in seconds.
    pub fn seconds(&self) -> f64 {
        self.rows.last().map_or(0.0, |(second, _)| *second)
    }

    /// The names of the tables.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter_map(|column| column.strip_prefix("table.")?.strip_suffix(".live"))
    }
}
