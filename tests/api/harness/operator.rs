//! Who watches a running program: its probes and its metrics.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{Program, RestActor, eventually};

/// The operators' side of a running program.
pub struct Operator(RestActor);

impl Operator {
    pub fn of(program: &Program) -> Self {
        Self::at(program.operators())
    }

    pub fn at(address: SocketAddr) -> Self {
        Self(RestActor::new(address, None))
    }

    /// The status of a probe, and what it says.
    pub async fn probe(&self, path: &str) -> (u16, String) {
        let answer = self.0.get(path).await;
        (answer.status, String::from_utf8_lossy(&answer.body).trim_end().to_owned())
    }

    /// What it measures. A busy machine may be too slow for a scrape.
    pub async fn scrape(&self) -> Scrape {
        let mut answer = self.0.get("/metrics").await;
        eventually("it measures", async || {
            if answer.status == 503 {
                answer = self.0.get("/metrics").await;
            }
            answer.status != 503
        })
        .await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
        Scrape(String::from_utf8_lossy(&answer.body).into_owned())
    }
}

/// What a scrape has shown.
pub struct Scrape(String);

impl Scrape {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The value of a series, as it is written.
    pub fn value(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{}", self.0)).parse().expect("a number")
    }

    /// Whether the series is there and has this value.
    pub fn has(&self, series: &str, value: f64) -> bool {
        self.0.lines().any(|line| line.strip_prefix(series).is_some_and(|shown| shown == format!(" {value}")))
    }

    /// The names of the metrics.
    pub fn names(&self) -> BTreeSet<String> {
        let types = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }
}
