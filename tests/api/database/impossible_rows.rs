//! The database is in a state that the service never leaves it in: by a bug, or changed by hand. A retry cannot help, and
//! the log names what is wrong.

use print_upload::proto::{UploadSession, upload_session::State};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use tonic::{Code, Status};

use crate::harness::{App, ErrorExt, Program};

/// A program with a session of ada's, on a database that is then changed.
async fn program_after(change: &'static str) -> (App, Program, UploadSession) {
    let mut app = App::start().await;
    let session = app.ada().create(&app.new_document().await, 1000).await.expect("a session");
    app.stop().await;
    let program = Program::serve_with(&mut app, &[]).await;
    sqlx::raw_sql(AssertSqlSafe(change)).execute(app.pool()).await.expect("the statements run");
    (app, program, session)
}

/// The errors that the program has logged, once it has ended.
async fn errors_of(program: Program) -> Vec<String> {
    program.terminate();
    let (_, log) = program.wait_for_end().await;
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let errors = lines.filter(|line| line["level"] == "ERROR");
    errors.map(|line| line["fields"]["error"].as_str().unwrap_or_default().to_owned()).collect()
}

fn assert_internal(refused: &Status) {
    assert_eq!(refused.code_and_reason(), (Code::Internal, "INTERNAL".into()));
    assert_eq!(refused.message(), "internal error");
    assert_eq!(refused.retry_delay(), None);
}

#[tokio::test]
async fn a_state_that_cannot_be_is_an_internal_error_and_is_logged() {
    let (app, program, session) = program_after(
        "create function keep() returns trigger language plpgsql as 'begin return null; end';
         create trigger keep before update on upload_session for each row when (new.state = 'canceled')
         execute function keep();",
    )
    .await;

    assert_internal(&app.ada().delete(&session.name).await.expect_err("it is still active"));

    assert_eq!(app.ada().get(&session.name).await.expect("the session").state(), State::Active);
    let errors = errors_of(program).await;
    assert!(matches!(errors.as_slice(), [only] if only.contains("is active again")), "{errors:?}");
}

#[tokio::test]
async fn a_value_that_the_service_never_writes_is_an_internal_error_and_is_logged_with_its_place() {
    let (app, program, session) = program_after(
        "alter table upload_session drop constraint upload_session_owner_check;
         update upload_session set owner = 'nobody';",
    )
    .await;

    assert_internal(&app.ada().get(&session.name).await.expect_err("it is nobody's"));

    let row = format!("in row {}", session.name);
    let errors = errors_of(program).await;
    let is_found = |error: &String| error.contains("column owner of table upload_session") && error.contains(&row);
    assert!(matches!(errors.as_slice(), [only] if is_found(only)), "{errors:?}");
}
