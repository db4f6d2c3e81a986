//! What operators watch: probes, metrics, logs and traces.

mod healthcheck;
mod logs;
pub mod metrics;
mod probes;
mod traces;
