//! The audit trail is a table for each month: they are made ahead of time and dropped when they are old, and no call
//! depends on that.

use print_upload::{
    proto::{UploadSession, upload_session::State},
    store::{MIGRATOR, MONTHS_AHEAD},
};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::{count, restart, store};
use crate::harness::{App, Database, eventually};

const TABLES: &str = "select count(*) from audit_tables()";
const IN_DEFAULT: &str = "select count(*) from audit_default";

async fn execute(pool: &PgPool, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(pool).await.expect("statements");
}

/// Drops every table of the trail but the default one.
async fn drop_tables(app: &App, which: &str) {
    let drop = format!(
        "do $$ declare t text; begin
             for t in select name from audit_tables() {which} loop execute format('drop table %I', t); end loop;
         end $$"
    );
    execute(app.pool(), &drop).await;
}

async fn months_ahead(app: &App) -> i32 {
    store(app).audit_months_ahead().await.expect("a number")
}

/// Creates a session and cancels it.
async fn canceled(app: &App) -> UploadSession {
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, 1000).await.expect("a session");
    ada.delete(&session.name).await.expect("canceled");
    assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Canceled);
    session
}

#[tokio::test]
async fn months_ahead_have_a_table_also_after_several_were_missing() {
    let mut app = App::start().await;
    assert!(months_ahead(&app).await >= MONTHS_AHEAD);
    app.stop().await;
    drop_tables(&app, "where to_time > audit_month(1)").await;
    assert_eq!(months_ahead(&app).await, 0);

    app.run().await;

    eventually("they are made", async || months_ahead(&app).await == MONTHS_AHEAD).await;
    app.stop().await;
    drop_tables(&app, "where from_time = audit_month(2)").await;
    assert_eq!(months_ahead(&app).await, 1, "behind a gap, none counts");
    app.run().await;
    eventually("the gap is closed", async || months_ahead(&app).await == MONTHS_AHEAD).await;
}

#[tokio::test]
async fn without_any_month_sessions_are_created_and_canceled_and_their_trail_is_kept() {
    let mut app = App::start().await;
    // As if another replica were making tables, for ever.
    let mut other = app.pool().begin().await.expect("a transaction");
    let lock = "select pg_advisory_xact_lock(hashtextextended('print-upload audit', 0))";
    sqlx::query(lock).execute(&mut *other).await.expect("the lock");
    drop_tables(&app, "").await;
    restart(&mut app).await;

    let session = canceled(&app).await;

    assert_eq!(count(&app, TABLES).await, 0);
    assert!(!store(&app).add_audit_month(1).await.expect("an answer"), "one replica at a time");
    other.rollback().await.expect("rolled back");

    assert_eq!(app.actions_on(&session).await, ["create", "cancel"]);
    assert_eq!(count(&app, IN_DEFAULT).await, 2);
    restart(&mut app).await;
    eventually("the next months are made", async || months_ahead(&app).await == MONTHS_AHEAD).await;
    assert_eq!(count(&app, "select count(*) from audit_tables() where from_time = audit_month(0)").await, 0);
    let second = canceled(&app).await;
    assert_eq!(count(&app, IN_DEFAULT).await, 4, "rows of this month stay together");
    for session in [&session, &second] {
        assert_eq!(app.actions_on(session).await, ["create", "cancel"]);
    }
}

/// While its table is made, a row of the current month would wait for the default table, and not fit into it any more.
#[tokio::test]
async fn the_current_month_never_gets_a_table() {
    let mut app = App::start().await;
    app.stop().await;
    drop_tables(&app, "").await;

    assert!(!store(&app).add_audit_month(0).await.expect("an answer"));

    app.run().await;
    eventually("the next months are made", async || months_ahead(&app).await == MONTHS_AHEAD).await;
    assert_eq!(count(&app, "select count(*) from audit_tables() where from_time <= now()").await, 0);
}

/// Replaces the first table, which has all earlier months, by one of January 2020. That one and the default one get old
/// rows, and this month a young one.
async fn with_old_rows(app: &App) {
    drop_tables(app, "").await;
    execute(
        app.pool(),
        "create table audit_2020_01 partition of audit for values from ('2020-01-01') to ('2020-02-01');
         create table audit_now partition of audit for values from (audit_month(0)) to (audit_month(1));
         insert into audit (audit_time, tenant_id, session_id, document_id, action, credential)
         select time::timestamptz, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'create', 'none'
         from unnest(array['2020-01-15', '2020-02-01', '2021-01-01', now()::text]) time;",
    )
    .await;
}

#[tokio::test]
async fn a_month_is_dropped_when_all_of_it_is_older_than_the_retention() {
    let mut app = App::start().await;
    app.stop().await;
    with_old_rows(&app).await;
    assert_eq!((count(&app, TABLES).await, count(&app, IN_DEFAULT).await), (2, 2));

    app.run().await;

    let old = "select count(*) from audit where audit_time < now() - interval '1 day'";
    eventually("the old rows are gone", async || count(&app, old).await == 0).await;
    assert_eq!(count(&app, "select count(*) from audit_tables() where name = 'audit_2020_01'").await, 0);
    assert_eq!(count(&app, "select count(*) from audit").await, 1);
    canceled(&app).await;
}

/// A long read of the whole trail, as by a backup, keeps the table. Nothing waits for it but the attempt.
#[tokio::test]
async fn while_somebody_reads_the_trail_nothing_is_dropped_and_cancels_go_on() {
    let mut app = App::start().await;
    app.stop().await;
    with_old_rows(&app).await;
    let mut reading = app.pool().begin().await.expect("a transaction");
    sqlx::query("select from audit").execute(&mut *reading).await.expect("rows");
    app.run().await;
    let store = store(&app);

    // The service tries as well, and one of the two is first.
    eventually("the table is in use", async || {
        let (dropped, _) = tokio::join!(store.drop_old_audit(), canceled(&app));
        dropped.is_err_and(|error| error.to_string().contains("lock timeout"))
    })
    .await;

    canceled(&app).await;
    let old = "select count(*) from audit_tables() where name = 'audit_2020_01'";
    assert_eq!(count(&app, old).await, 1);
    reading.rollback().await.expect("rolled back");
    eventually("it is dropped", async || {
        store.drop_old_audit().await.expect("an answer");
        count(&app, old).await == 0
    })
    .await;
}

/// `serve` has a role that owns no table. The migrations keep what it may do, and give it no more.
#[tokio::test]
async fn a_role_that_may_write_the_trail_still_may_and_no_other_changes_its_tables() {
    let database = Database::empty().await;
    MIGRATOR.run_to(10, &database.pool).await.expect("migrations");
    let suffix = Uuid::now_v7().simple();
    let (writer, stranger) = (format!("writer_{suffix}"), format!("stranger_{suffix}"));
    let roles = format!(
        "create role {writer}; create role {stranger};
         grant select, insert, update, delete on all tables in schema public to {writer}"
    );
    execute(&database.pool, &roles).await;

    MIGRATOR.run(&database.pool).await.expect("migrations");

    let mut connection = database.pool.acquire().await.expect("a connection");
    let mut run = async |role: &str, statement: &str| {
        let statements = format!("set role {role}; {statement}; reset role");
        let done = sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *connection).await;
        sqlx::raw_sql("reset role").execute(&mut *connection).await.expect("reset");
        done.map_err(|error| error.to_string())
    };
    let insert = "insert into audit (tenant_id, session_id, document_id, action, credential)
                  values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'create', 'none')";
    for statement in
        [insert, "select from audit_tables()", "select audit_add_month(9)", "select audit_drop_before('400 days')"]
    {
        run(&writer, statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    for statement in [insert, "select audit_add_month(10)", "select audit_drop_before('400 days')"] {
        let refused = run(&stranger, statement).await.expect_err(statement);
        assert!(refused.contains("permission denied"), "{refused}");
    }
    drop(connection);
    execute(&database.pool, &format!("drop owned by {writer}; drop role {writer}; drop role {stranger}")).await;
}
