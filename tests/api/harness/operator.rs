//! An operator of a running program: reads its probes and metrics.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{Program, RestActor, eventually};

/// A client of the program's admin listener.
pub struct Operator(RestActor);

impl Operator {
    pub fn of(program: &Program) -> Self {
        Self::at(program.admin_address())
    }

    pub fn at(address: SocketAddr) -> Self {
        Self(RestActor::new(address, None))
    }

    /// The status and the body of a probe.
    pub async fn probe(&self, path: &str) -> (u16, String) {
        let answer = self.0.get(path).await;
        (answer.status, String::from_utf8_lossy(&answer.body).trim_end().to_owned())
    }

    /// Reads the metrics. Repeats a scrape that a busy machine was too slow for.
    pub async fn scrape(&self) -> Scrape {
        let mut answer = self.0.get("/metrics").await;
        eventually("a scrape is served", async || {
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

/// The metrics of one scrape.
pub struct Scrape(String);

impl Scrape {
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The value of a series. `series` is its name with its labels, as in the text.
    pub fn value(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{}", self.0)).parse().expect("a number")
    }

    /// Whether the series exists and has this value.
    pub fn has(&self, series: &str, value: f64) -> bool {
        self.0.lines().any(|line| line.strip_prefix(series).is_some_and(|printed| printed == format!(" {value}")))
    }

    /// The names of the metrics.
    pub fn names(&self) -> BTreeSet<String> {
        let types = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }
}
