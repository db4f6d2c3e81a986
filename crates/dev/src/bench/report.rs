//! What was measured: series of values, one a round, and what is demanded of them.

/// Every row of a run, and what it ran on.
#[derive(Debug)]
pub struct Report {
    /// Lines that say what was measured on what.
    pub setting: Vec<(String, String)>,
    pub rows: Vec<Row>,
}

/// A row of the table of bars.
#[derive(Debug)]
pub struct Row {
    pub number: u8,
    pub title: &'static str,
    /// What was measured, or why it could not be.
    pub outcome: Result<Vec<Figure>, String>,
}

/// A measured value, and what was measured beside it.
#[derive(Debug)]
pub struct Figure {
    pub series: Series,
    pub bar: Option<Bar>,
    /// The absolute values behind a ratio, and whatever helps to understand the value.
    pub beside: Vec<Series>,
    pub note: Option<String>,
}

/// The values of the rounds.
#[derive(Debug, Clone)]
pub struct Series {
    pub name: String,
    pub unit: Unit,
    /// Empty if it could not be measured on this machine.
    pub values: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Ratio,
    Milliseconds,
    PerSecond,
    Mib,
    MibPerSecond,
    CpuSecondsPerGib,
    Percent,
    Count,
}

/// What is demanded of a value.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Report {
    pub fn has_failures(&self) -> bool {
        self.rows.iter().any(|row| row.outcome.is_err())
    }
}

impl Figure {
    pub fn new(name: impl Into<String>, unit: Unit, values: Vec<f64>) -> Self {
        Self { series: Series::new(name, unit, values), bar: None, beside: Vec::new(), note: None }
    }

    /// The ratio of two series, round by round, with both beside it.
    pub fn ratio(name: impl Into<String>, ours: Series, limit: Series) -> Self {
        let ratios = ours.values.iter().zip(&limit.values).map(|(ours, limit)| ours / limit).collect();
        Self { beside: vec![ours, limit], ..Self::new(name, Unit::Ratio, ratios) }
    }

    /// A peer that is not there.
    pub fn missing(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { note: Some(reason.into()), ..Self::new(name, Unit::Ratio, Vec::new()) }
    }

    pub fn with_bar(self, bar: Bar) -> Self {
        Self { bar: Some(bar), ..self }
    }

    pub fn without_bar(self) -> Self {
        Self { bar: None, ..self }
    }

    pub fn beside(mut self, series: Series) -> Self {
        self.beside.push(series);
        self
    }

    pub fn with_note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    /// How many times better the median is than its bar; less than 1 if it misses it.
    pub fn margin(&self) -> Option<f64> {
        let median = self.series.median()?;
        match self.bar? {
            Bar::AtLeast(bar) => Some(median / bar),
            Bar::AtMost(bar) => Some(bar / median),
        }
    }

    pub fn misses_bar(&self) -> bool {
        self.margin().is_some_and(|margin| margin < 1.0)
    }
}

impl Series {
    pub fn new(name: impl Into<String>, unit: Unit, values: Vec<f64>) -> Self {
        Self { name: name.into(), unit, values }
    }

    pub fn median(&self) -> Option<f64> {
        median(&self.values)
    }

    /// The smallest and the largest value.
    pub fn spread(&self) -> Option<(f64, f64)> {
        let smallest = self.values.iter().copied().reduce(f64::min)?;
        Some((smallest, self.values.iter().copied().reduce(f64::max)?))
    }
}

/// The value in the middle; of an even number of values the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 0 => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        _ => Some(sorted[middle]),
    }
}
