//! Rows that a program of an older schema has written survive every later migration, and the service works on them.
//! `rows/N.sql` has the rows that migration N makes possible.

use std::{collections::BTreeMap, fs, path::Path};

use print_upload::{
    proto::{UploadSession, upload_session::State},
    store::MIGRATOR,
};
use sqlx::{AssertSqlSafe, PgPool};
use tonic::Code;
use uuid::Uuid;

use crate::harness::{Actor, App, Database, ErrorExt, IDENTITY, TENANT, crc32c, eventually, sample_bytes};

/// The size of every document in the rows.
const SIZE: usize = 1000;

/// The content of each table, as JSON objects.
type Tables = BTreeMap<String, Vec<String>>;

/// A session in the rows.
#[derive(Debug, sqlx::FromRow)]
struct Row {
    tenant_id: Uuid,
    session_id: Uuid,
    job_id: String,
    document: String,
    owner: String,
    /// As callers see it: an overdue session is expired.
    state: String,
    is_job_deleted: bool,
    is_job_canceled: bool,
}

#[tokio::test]
async fn rows_of_every_schema_survive_the_later_migrations_and_are_served() {
    for version in MIGRATOR.iter().map(|migration| migration.version) {
        eprintln!("schema {version}");
        let database = Database::empty().await;
        MIGRATOR.run_to(version, &database.pool).await.expect("migrations apply");
        insert_rows(&database.pool, version).await;
        let before = tables(&database.pool).await;

        MIGRATOR.run(&database.pool).await.expect("the later migrations apply");

        assert_kept(&database.pool, &before, version).await;
        assert_valid(&database.pool, version).await;
        let mut app = App::on(database, [("tombstone-retention", "1h")]);
        put_objects(&app).await;
        put_identity(&app).await;
        app.run().await;
        use_jobs(&app).await;
        for row in rows(&app).await {
            use_session(&app, &row).await;
        }
        finish_reclaiming(&app).await;
        purge(&mut app).await;
    }
}

/// Inserts the rows of every migration up to `version`. Fails unless every column of every table has a value then.
async fn insert_rows(pool: &PgPool, version: i64) {
    for migration in MIGRATOR.iter().filter(|migration| migration.version <= version) {
        let file = format!("tests/api/database/rows/{}.sql", migration.version);
        let rows = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file));
        let rows = rows.unwrap_or_else(|_| panic!("migration {} needs rows: write {file}", migration.version));
        sqlx::raw_sql(AssertSqlSafe(rows)).execute(pool).await.unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    let columns: Vec<(String, String)> = sqlx::query_as(
        "select table_name::text, column_name::text from information_schema.columns
         where table_schema = 'public' and table_name <> '_sqlx_migrations'
           -- Of a table that has partitions, the rows are seen as its own.
           and table_name not in (select relname from pg_class where relispartition)",
    )
    .fetch_all(pool)
    .await
    .expect("the columns");
    for (table, column) in columns {
        let has_value = format!("select exists (select from {table} where {column} is not null)");
        let has_value: bool = sqlx::query_scalar(AssertSqlSafe(has_value)).fetch_one(pool).await.expect("an answer");
        assert!(has_value, "no row has a value in {table}.{column}: add one to rows/{version}.sql");
    }
}

async fn tables(pool: &PgPool) -> Tables {
    let names = "select tablename::text from pg_tables where schemaname = 'public' and tablename <> '_sqlx_migrations'";
    let names: Vec<String> = sqlx::query_scalar(names).fetch_all(pool).await.expect("the tables");
    let mut tables = Tables::new();
    for name in names {
        let rows = format!("select to_jsonb(r)::text from {name} r");
        let rows = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(pool).await.expect("the rows");
        tables.insert(name, rows);
    }
    tables
}

/// Every row is there, with the values that it had; new columns may have any value.
async fn assert_kept(pool: &PgPool, before: &Tables, version: i64) {
    let after = tables(pool).await;
    for (table, rows) in before {
        assert_eq!(after[table].len(), rows.len(), "schema {version}: {table}");
        let find = format!("select exists (select from {table} r where to_jsonb(r) @> $1::text::jsonb)");
        for row in rows {
            let found = sqlx::query_scalar::<_, bool>(AssertSqlSafe(find.clone())).bind(row).fetch_one(pool).await;
            assert!(found.expect("an answer"), "schema {version}: {table} has lost {row}");
        }
    }
}

/// Every constraint is validated, and every index can be used.
async fn assert_valid(pool: &PgPool, version: i64) {
    let invalid: Vec<String> = sqlx::query_scalar(
        "select conname::text from pg_constraint where not convalidated
         union all select indexrelid::regclass::text from pg_index where not (indisvalid and indisready)",
    )
    .fetch_all(pool)
    .await
    .expect("a list");
    assert!(invalid.is_empty(), "schema {version}: {invalid:?}");
}

/// Puts the objects that the manifests name, and a stray one into the folder of each session that is queued for
/// reclaiming.
async fn put_objects(app: &App) {
    let pieces: Vec<(Uuid, Uuid, Uuid, i64, i64, i64)> = sqlx::query_as(
        "select tenant_id, session_id, object_id, start_byte, end_byte, object_offset from fragment
         join upload_session s using (tenant_id, session_id)
         where s.state in ('active', 'completed')
            or (tenant_id, session_id) in (select tenant_id, session_id from reclaim)",
    )
    .fetch_all(app.pool())
    .await
    .expect("the manifests");
    let document = sample_bytes(SIZE);
    for (tenant, session, object, start, end, offset) in pieces {
        let (first, end) = ((start - offset) as usize, end as usize);
        put(app, tenant, session, object, &document[first..end]);
    }
    let queued: Vec<(Uuid, Uuid)> =
        sqlx::query_as("select tenant_id, session_id from reclaim").fetch_all(app.pool()).await.expect("the queue");
    for (tenant, session) in queued {
        put(app, tenant, session, Uuid::now_v7(), b"left behind");
    }
}

/// Lets the store be the one that the database belongs to, if it belongs to any.
async fn put_identity(app: &App) {
    let identity = sqlx::query_scalar::<_, Uuid>("select store_id from object_store").fetch_optional(app.pool()).await;
    if let Some(identity) = identity.expect("an answer") {
        fs::write(app.bytes_folder().join(IDENTITY), identity.to_string()).expect("an object");
    }
}

/// Puts an object, unless a longer one with the same name is there.
fn put(app: &App, tenant: Uuid, session: Uuid, object: Uuid, bytes: &[u8]) {
    let folder = app.bytes_folder().join(tenant.to_string()).join(session.to_string());
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join(object.to_string());
    if fs::metadata(&file).is_ok_and(|found| found.len() >= bytes.len() as u64) {
        return;
    }
    fs::write(file, bytes).expect("an object");
}

async fn rows(app: &App) -> Vec<Row> {
    sqlx::query_as(
        "select tenant_id, session_id, job_id, owner,
                'printers/' || printer_id || '/jobs/' || job_id || '/documents/' || document_id as document,
                case when state = 'active' and expire_time <= now() then 'expired' else state end as state,
                delete_time is not null as is_job_deleted, to_jsonb(j) ->> 'cancel_time' is not null as is_job_canceled
         from upload_session s join print_document using (tenant_id, document_id)
         join print_job j using (tenant_id, printer_id, job_id)
         order by s.create_time, session_id",
    )
    .fetch_all(app.pool())
    .await
    .expect("the sessions")
}

impl Row {
    fn owner(&self, app: &App) -> Actor {
        match (self.tenant_id == TENANT, self.owner.as_str()) {
            (true, "user:ada") => app.ada(),
            (true, "app:robot") => app.robot(),
            (false, "user:ada") => app.mallory(),
            other => panic!("nobody of the harness: {other:?}"),
        }
    }
}

/// A document without a session is uploaded, and its job is started and canceled. Jobs that were deleted are unknown.
async fn use_jobs(app: &App) {
    let (mut ada, bytes) = (app.ada(), sample_bytes(SIZE));
    let idle = "printers/p/jobs/idle/documents/d0000000-0000-4000-8000-000000000000";
    ada.upload(idle, &bytes).await.expect("an upload");
    assert_eq!(ada.download(idle, 0).await.expect("a download").1, bytes);
    ada.start_job("printers/p/jobs/idle").await.expect("started");
    ada.cancel_job("printers/p/jobs/idle").await.expect("canceled");
    for deleted in ["freed", "withdrawn", "never"] {
        let refused = ada.job(&format!("printers/p/jobs/{deleted}")).await.expect_err("deleted");
        assert_eq!(refused.code_and_reason(), (Code::NotFound, "PRINT_JOB_NOT_FOUND".into()), "{deleted}");
    }
}

/// Makes every call on a session that its state allows, and one of those that it does not.
async fn use_session(app: &App, row: &Row) {
    let mut owner = row.owner(app);
    let session = owner.get(&format!("uploadSessions/{}", row.session_id)).await.expect("the session");
    let state = session.state().as_str_name().trim_start_matches("STATE_").to_lowercase();
    assert_eq!((&session.document, &state), (&row.document, &row.state), "{row:?}");
    if session.state() == State::Active {
        owner.holder_of(&session).get(&session.name).await.expect("its upload URL is as new as its row");
    }
    match session.state() {
        State::Active if row.job_id == "unwanted" => cancel(app, &mut owner, &session).await,
        State::Active => complete(&mut owner, &session).await,
        State::Completed => repeat(&mut owner, row, &session).await,
        State::Canceled => start_again(&mut owner, row, &session, "UPLOAD_SESSION_CANCELED").await,
        State::Expired => start_again(&mut owner, row, &session, "UPLOAD_SESSION_EXPIRED").await,
        State::Unspecified => panic!("{row:?}"),
    }
}

async fn cancel(app: &App, owner: &mut Actor, session: &UploadSession) {
    owner.delete(&session.name).await.expect("deleted");
    let late = owner.send(session, &sample_bytes(SIZE), 0..100).await.expect_err("a late range");
    assert_eq!(late.code_and_reason(), (Code::Aborted, "UPLOAD_SESSION_CANCELED".into()));
    eventually("its bytes are gone", async || app.is_reclaimed(session)).await;
}

async fn complete(owner: &mut Actor, session: &UploadSession) {
    let bytes = sample_bytes(SIZE);
    let missing = session.next_expected_ranges.clone();
    let first = missing.first().expect("something is missing").start as usize;
    let taken = owner.send(session, &bytes, first..first + 10).await.expect("a range");
    assert_eq!(taken.next_expected_ranges[0].start as usize, first + 10);
    for range in missing {
        owner.send(session, &bytes, range.start as usize..range.end as usize).await.expect("the rest");
    }
    assert_eq!(owner.get(&session.name).await.expect("the session").state(), State::Completed);
    assert_downloads(owner, &session.document).await;
}

/// The exact repeat of the range that completed the document succeeds; a delete is refused.
async fn repeat(owner: &mut Actor, row: &Row, session: &UploadSession) {
    let refused = owner.delete(&session.name).await.expect_err("completed");
    assert_eq!(refused.code_and_reason(), (Code::FailedPrecondition, "UPLOAD_SESSION_COMPLETED".into()));
    if row.is_job_deleted {
        let refused = owner.download(&row.document, 0).await.expect_err("deleted");
        return assert_eq!(refused.code_and_reason(), (Code::NotFound, "DOCUMENT_NOT_FOUND".into()));
    }
    let completing = if row.job_id == "completed" { 600..1000 } else { 0..1000 };
    let repeated = owner.send_with_crc32c(session, &sample_bytes(SIZE), completing).await.expect("the exact repeat");
    assert_eq!(repeated.state(), State::Completed);
    assert_downloads(owner, &row.document).await;
}

/// A session that was not completed takes no range. It can be deleted again, and its document has another session
/// unless the job prevents it.
async fn start_again(owner: &mut Actor, row: &Row, session: &UploadSession, reason: &str) {
    let late = owner.send(session, &sample_bytes(SIZE), 500..1000).await.expect_err("a late range");
    assert_eq!(late.code_and_reason(), (Code::Aborted, reason.into()), "{row:?}");
    owner.delete(&session.name).await.expect("deleted again");
    match owner.create(&row.document, SIZE).await {
        Ok(new) => assert_ne!(new.etag, session.etag),
        Err(refused) if row.is_job_deleted => assert_eq!(refused.reason(), "DOCUMENT_NOT_FOUND"),
        Err(refused) if row.is_job_canceled => assert_eq!(refused.reason(), "PRINT_JOB_CANCELED"),
        Err(refused) => panic!("{row:?}: {refused:?}"),
    }
}

async fn assert_downloads(owner: &mut Actor, document: &str) {
    let bytes = sample_bytes(SIZE);
    let (uploaded, downloaded) = owner.download(document, 0).await.expect("a download");
    assert_eq!((uploaded.crc32c, downloaded), (Some(crc32c(&bytes)), bytes.to_vec()), "{document}");
}

/// The queue empties, and the store has only what the manifests of completed sessions name.
async fn finish_reclaiming(app: &App) {
    let last = "update reclaim set due_time = now(), final_time = now()";
    sqlx::query(last).execute(app.pool()).await.expect("the queue");
    eventually("the queue is empty", async || {
        let left = sqlx::query_scalar::<_, i64>("select count(*) from reclaim").fetch_one(app.pool()).await;
        left.expect("a number") == 0
    })
    .await;
    let named: Vec<String> = sqlx::query_scalar(
        "select distinct tenant_id || '/' || session_id || '/' || object_id as name from fragment
         join upload_session s using (tenant_id, session_id) where s.state = 'completed' order by name",
    )
    .fetch_all(app.pool())
    .await
    .expect("the manifests");
    assert_eq!(objects(&app.bytes_folder()), named);
}

/// The names of all files in the store, sorted.
fn objects(folder: &Path) -> Vec<String> {
    let entries = |folder: &Path| fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let tenants = entries(folder).filter(|tenant| !tenant.ends_with(IDENTITY));
    let files = tenants.flat_map(|tenant| entries(&tenant).collect::<Vec<_>>());
    let files = files.flat_map(|session| entries(&session).collect::<Vec<_>>());
    let name = |file: std::path::PathBuf| file.strip_prefix(folder).expect("below it").display().to_string();
    let mut names: Vec<String> = files.map(name).collect();
    names.sort();
    names
}

/// After the retention the tombstones go, and neither completed sessions nor the audit trail.
async fn purge(app: &mut App) {
    let counts = "select (select count(*) from audit), (select count(*) from upload_session where state = 'completed'
                   and document_id not in (select document_id from print_document join print_job
                                           using (tenant_id, printer_id, job_id) where delete_time is not null)),
                  (select count(*) from upload_session where state in ('canceled', 'expired')),
                  (select count(*) from print_job where delete_time is not null)";
    let (audit, completed, ..): (i64, i64, i64, i64) =
        sqlx::query_as(counts).fetch_one(app.pool()).await.expect("numbers");
    app.stop().await;
    for older in [
        "update upload_session set end_time = end_time - interval '90 minutes' where state in ('canceled', 'expired')",
        "update print_job set delete_time = delete_time - interval '90 minutes' where delete_time is not null",
    ] {
        sqlx::query(older).execute(app.pool()).await.expect("an update");
    }

    app.run().await;

    eventually("every tombstone is purged", async || {
        let left: (i64, i64, i64, i64) = sqlx::query_as(counts).fetch_one(app.pool()).await.expect("numbers");
        assert_eq!((left.0, left.1), (audit, completed), "the audit trail and complete documents stay");
        (left.2, left.3) == (0, 0)
    })
    .await;
}
