//! What operators watch: probes, metrics, logs and traces.

mod environment;
mod healthcheck;
mod logs;
mod metrics;
mod probes;
mod traces;

use crate::harness::{App, Operator, Program, eventually};

/// A ready program on the data of an app, and its operator.
async fn watched(app: &mut App) -> (Program, Operator) {
    app.set_flag("admin-listen", "127.0.0.1:0");
    let program = Program::serve(app).await;
    let operator = Operator::of(&program);
    eventually("it is ready", async || operator.probe("/readyz").await.0 == 200).await;
    (program, operator)
}
