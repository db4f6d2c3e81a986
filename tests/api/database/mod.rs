//! The database does not answer, a connection to it breaks, it must not be used, its schema or its rows are those of
//! another version, or it holds rows that the service never writes.

mod batches;
mod broken_connections;
mod failover;
mod impossible_rows;
mod isolation_level;
mod migrations;
mod outages;
mod plans;
mod schema_versions;
mod unfit;

use std::time::Duration;

use tonic::{Code, Status};

use crate::harness::{App, ErrorExt, Operator, Program};

pub fn assert_unavailable(what: &str, answer: Result<(), Status>) {
    let error = answer.expect_err(what);
    assert_eq!(error.code_and_reason(), (Code::Unavailable, "DATABASE_UNAVAILABLE".into()), "{what}");
    assert!(error.retry_delay().is_some_and(|delay| delay > Duration::ZERO), "{what}");
}

/// A program on the data of an app, and its operator.
async fn watched(app: &mut App) -> (Program, Operator) {
    app.set_flag("admin-listen", "127.0.0.1:0");
    let program = Program::serve(app).await;
    let operator = Operator::of(&program);
    (program, operator)
}

/// Whether `grpc.health.v1` reports that a program serves.
async fn is_healthy(app: &App) -> bool {
    Program::run(&["healthcheck", &format!("--server={}", app.address)]).await.0.success()
}

/// Runs `serve` on the data of an app to its end. Returns its exit code and its output.
async fn serve_to_its_end(app: &App) -> (Option<i32>, String) {
    let flags: Vec<String> = app.flags().map(|(flag, value)| format!("--{flag}={value}")).collect();
    let mut arguments = vec!["serve", "--listen=127.0.0.1:0"];
    arguments.extend(flags.iter().map(String::as_str));
    let (status, output) = Program::run(&arguments).await;
    (status.code(), output)
}
