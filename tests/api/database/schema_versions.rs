//! `serve` on the schema of an older or a newer program.

use std::process::ExitStatus;

use print_upload::store::MIGRATOR;

use crate::harness::{App, Database, Program};

/// A database with the migrations up to `version`; 0 is an empty one.
async fn migrated_to(version: i64) -> Database {
    let database = Database::empty().await;
    if version > 0 {
        MIGRATOR.run_to(version, &database.pool).await.expect("migrations apply");
    }
    database
}

/// Runs `serve` on the app's database to its end.
async fn serve_to_its_end(app: &App) -> (ExitStatus, String) {
    let flags: Vec<String> = app.flags().map(|(flag, value)| format!("--{flag}={value}")).collect();
    let mut arguments = vec!["serve", "--listen=127.0.0.1:0"];
    arguments.extend(flags.iter().map(String::as_str));
    Program::run(&arguments).await
}

/// Marks a migration as applied, as a newer program would have done.
async fn apply_newer_migration(database: &Database) -> i64 {
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 select max(version) + 1, 'newer', true, '', 0 from _sqlx_migrations returning version";
    sqlx::query_scalar(newer).fetch_one(&database.pool).await.expect("a newer migration")
}

#[tokio::test]
async fn serve_does_not_start_on_an_older_schema_and_names_each_migration_that_is_missing() {
    let newest = MIGRATOR.iter().map(|migration| migration.version).max().expect("a migration");
    let older = [0].into_iter().chain(MIGRATOR.iter().map(|migration| migration.version)).filter(|it| *it < newest);
    for version in older {
        let mut app = App::on(migrated_to(version).await, []);

        let (status, output) = serve_to_its_end(&app).await;

        let missing = MIGRATOR.iter().filter(|migration| migration.version > version);
        let missing: Vec<String> = missing.map(|it| format!("{} ({})", it.version, it.description)).collect();
        let plural = if missing.len() == 1 { "" } else { "s" };
        let expected = format!(
            "print-upload: the database lacks the migration{plural} {}: run `print-upload migrate`",
            missing.join(", ")
        );
        assert_eq!((status.code(), output), (Some(1), expected), "schema {version}");

        let (status, output) = Program::run(&["migrate", &format!("--database-url={}", app.database.url)]).await;
        assert!(status.success(), "schema {version}: {output}");
        Program::serve(&mut app).await.kill().await;
    }
}

#[tokio::test]
async fn a_schema_that_lacks_one_migration_in_the_middle_is_an_older_one() {
    let database = migrated_to(i64::MAX).await;
    apply_newer_migration(&database).await;
    sqlx::query("delete from _sqlx_migrations where version = 2").execute(&database.pool).await.expect("deleted");

    let (status, output) = serve_to_its_end(&App::on(database, [])).await;

    assert_eq!(status.code(), Some(1), "{output}");
    assert_eq!(output, "print-upload: the database lacks the migration 2 (upload session): run `print-upload migrate`");
}

#[tokio::test]
async fn on_a_newer_schema_serve_starts_and_migrate_changes_nothing() {
    let database = migrated_to(i64::MAX).await;
    let newer = apply_newer_migration(&database).await;
    let mut app = App::on(database, []);

    let (status, output) = Program::run(&["migrate", &format!("--database-url={}", app.database.url)]).await;
    assert!(status.success(), "{output}");
    let program = Program::serve(&mut app).await;

    app.push_printers().await;
    let document = app.new_document().await;
    app.ada().create(&document, 1000).await.expect("a session");
    program.terminate();
    let (_, output) = program.wait_for_end().await;
    assert!(output.contains("the database has a newer schema than this program knows"), "{output}");
    let newest = "select max(version) from _sqlx_migrations";
    let kept: i64 = sqlx::query_scalar(newest).fetch_one(app.pool()).await.expect("a version");
    assert_eq!(kept, newer, "the newer migration is still there");
}
