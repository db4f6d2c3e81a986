//! What happens to the catalog and to the rows of a tenant at the moment at which the command deletes them.

use tokio::join;
use tonic::Code;

use super::{
    count,
    tenants::{AGAIN, delete, fill, finish_passes},
};
use crate::harness::{App, ErrorExt, TENANT, eventually};

/// Waits until a statement waits for a row.
async fn a_statement_waits(app: &App) {
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    eventually("a statement waits", async || count(app, waiting).await > 0).await;
}

/// The service purges sessions in the order of its jobs, and waits for those that the command removes.
#[tokio::test]
async fn the_command_waits_for_no_row_that_the_service_is_purging() {
    let app = App::start().await;
    let sessions = fill(&app).await;
    assert_eq!(delete(&app, &["--yes"]).await.0, AGAIN);
    finish_passes(&app).await;
    let mut purging = app.pool().begin().await.expect("a transaction");
    let id = sessions[0].name.rsplit('/').next().expect("an id");
    let lock = "select 1 from upload_session where session_id = $1::text::uuid for update";
    sqlx::query(lock).bind(id).fetch_one(&mut *purging).await.expect("the session");

    let (code, output) = delete(&app, &["--yes"]).await;

    assert_eq!(code, AGAIN, "{output}");
    assert!(output.contains("1 uploads and 1 jobs are left"), "{output}");
    purging.rollback().await.expect("rolled back");
    let (code, output) = delete(&app, &["--yes"]).await;
    assert_eq!(code, Some(0), "{output}");
}

#[tokio::test]
async fn a_share_that_is_pushed_while_the_tenant_is_removed_keeps_it_until_the_next_run() {
    let app = App::start().await;
    let mut pushing = app.pool().begin().await.expect("a transaction");
    let share = "insert into printer_share (tenant_id, share_id, printer_id, revision) values ($1, 'late', 'p', 1)";
    sqlx::query(share).bind(TENANT).execute(&mut *pushing).await.expect("a share");

    let ((code, output), ()) = join!(delete(&app, &["--yes"]), async {
        a_statement_waits(&app).await;
        pushing.commit().await.expect("committed");
    });

    assert_eq!(code, AGAIN, "{output}");
    assert!(output.contains("a job or a share was pushed meanwhile: run this again"), "{output}");
    assert_eq!(delete(&app, &["--yes"]).await.0, Some(0));
}

/// The call has found the printer before it was removed.
#[tokio::test]
async fn a_job_is_not_created_on_a_printer_that_is_removed_meanwhile() {
    let app = App::start().await;
    let mut removing = app.pool().begin().await.expect("a transaction");
    for remove in ["delete from printer_share where tenant_id = $1", "delete from printer where tenant_id = $1"] {
        sqlx::query(remove).bind(TENANT).execute(&mut *removing).await.expect("removed");
    }

    let mut ada = app.ada();
    let (created, ()) = join!(ada.create_job("printers/p"), async {
        a_statement_waits(&app).await;
        removing.commit().await.expect("committed");
    });

    let refused = created.expect_err("no printer");
    assert_eq!(refused.code_and_reason(), (Code::NotFound, "PRINTER_NOT_FOUND".into()));
}
