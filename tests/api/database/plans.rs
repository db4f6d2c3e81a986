//! The plans of the statements, with a million sessions. No statement for a call or a background task reads a table from
//! end to end.

use std::{fs, path::Path};

use serde::Deserialize;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::harness::Database;

/// The tables that grow. The others have a row for each tenant, printer or share.
const LARGE: [&str; 6] = ["upload_session", "fragment", "reclaim", "audit_before", "print_job", "print_document"];

/// A million sessions of 200,000 jobs: every fifth is active, the others have ended. Half of the jobs were created here.
const ROWS: &str = "
    set session_replication_role = replica;
    insert into tenant values ('00000000-0000-0000-0000-000000000001', true, 1);
    insert into print_job (tenant_id, printer_id, job_id, created_by, revision, create_time, created_here)
    select '00000000-0000-0000-0000-000000000001', 'p', n, 'user:ada', 1, now() - (200000 - n) * interval '1 s', n % 2 = 0
    from generate_series(1, 200000) n;
    insert into print_document (tenant_id, document_id, printer_id, job_id)
    select tenant_id, lpad(job_id, 32, '0')::uuid, printer_id, job_id from print_job;
    insert into upload_session (tenant_id, session_id, document_id, owner, document_name, content_type, size_bytes, state,
                                create_time, expire_time, expire_limit, end_time, ended_by, end_reason, sweep_time)
    select '00000000-0000-0000-0000-000000000001', lpad(n::text, 32, '0')::uuid, lpad((n / 5 + 1)::text, 32, '0')::uuid,
           'user:ada', 'd', 'application/pdf', 1000, case when n % 5 = 0 then 'active' else 'canceled' end,
           now() - (1000000 - n) * interval '1 ms', now() + n * interval '1 s', now() + n * interval '1 s',
           case when n % 5 <> 0 then now() - (1000000 - n) * interval '1 ms' end,
           case when n % 5 <> 0 then 'user:ada' end, case when n % 5 <> 0 then 'deleted' end, now() + n * interval '1 s'
    from generate_series(1, 999999) n;
    insert into fragment (tenant_id, session_id, start_byte, end_byte, object_id, object_offset, crc32c)
    select tenant_id, session_id, 0, 1, session_id, 0, 0 from upload_session where state = 'active';
    insert into reclaim (tenant_id, session_id, due_time, final_time)
    select tenant_id, session_id, end_time + interval '11 min', end_time + interval '11 min'
    from upload_session where state = 'canceled' limit 200000;
    insert into audit (tenant_id, session_id, document_id, action, credential)
    select tenant_id, session_id, document_id, 'create', 'none' from upload_session where state = 'active';";

/// The trail of a session, as docs/operations.md reads it.
const TRAIL: &str = "select audit_time, action, actor, credential, request_id from audit
                     where tenant_id = $1 and session_id = $2 order by audit_id";

/// A statement of the program, as `.sqlx` describes it.
#[derive(Deserialize)]
struct Statement {
    query: String,
    describe: Describe,
}

#[derive(Deserialize)]
struct Describe {
    parameters: Parameters,
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(rename = "Left")]
    types: Vec<serde_json::Value>,
}

impl Statement {
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
        let files = fs::read_dir(folder).expect("the folder").map(|file| file.expect("a file").path());
        files.map(|file| serde_json::from_slice(&fs::read(file).expect("text")).expect("a statement")).collect()
    }

    /// The plan for any parameters, as the connections of the batches use it.
    async fn plan(&self, connection: &mut PgConnection) -> String {
        let prepare = format!("prepare statement as {}", self.query);
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.expect(&self.query);
        let nulls = vec!["null"; self.describe.parameters.types.len()].join(", ");
        let nulls = if nulls.is_empty() { nulls } else { format!("({nulls})") };
        let explain = format!("explain execute statement{nulls}");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain))
            .persistent(false)
            .fetch_all(&mut *connection)
            .await
            .expect("a plan");
        sqlx::raw_sql("deallocate statement").execute(connection).await.expect("deallocated");
        rows.join("\n")
    }

    /// Counts for a scrape read at most 100,000 rows, from the front of an index or of the table.
    fn is_limited_count(&self) -> bool {
        self.query.contains("active_sessions!")
    }

    /// Reads or removes the trail of a tenant, in batches. What sorts reads all of it for each.
    fn is_of_the_trail(&self) -> bool {
        self.query.contains("from audit where tenant_id")
    }
}

/// Whether a plan sorts or groups rows.
fn sorts(plan: &str) -> bool {
    // `Sort Key` is the order of what is merged as well.
    ["Sort  (", "Unique  (", "Aggregate  ("].iter().any(|node| plan.contains(node))
}

#[tokio::test]
async fn no_statement_reads_a_large_table_from_end_to_end() {
    let database = Database::create().await;
    let mut connection = PgConnection::connect(&database.url).await.expect("a connection");
    sqlx::raw_sql(ROWS).execute(&mut connection).await.expect("rows");
    // As autovacuum would do it: it never analyzes a table that has partitions.
    let tables = "select string_agg(oid::regclass::text, ', ') from pg_class
                  where relkind = 'r' and relnamespace = 'public'::regnamespace";
    let tables: String = sqlx::query_scalar(tables).fetch_one(&mut connection).await.expect("the tables");
    let vacuum = AssertSqlSafe(format!("vacuum analyze {tables}"));
    sqlx::raw_sql(vacuum).execute(&mut connection).await.expect("vacuumed");
    sqlx::raw_sql("set plan_cache_mode = force_generic_plan").execute(&mut connection).await.expect("set");

    let uuid = serde_json::Value::from("Uuid");
    let trail = Statement {
        query: TRAIL.into(),
        describe: Describe { parameters: Parameters { types: vec![uuid.clone(), uuid] } },
    };
    let statements: Vec<_> = Statement::all().into_iter().chain([trail]).collect();
    assert!(statements.len() > 30, "{} statements", statements.len());
    let mut bad = Vec::new();
    for statement in statements.iter().filter(|statement| !statement.is_limited_count()) {
        let plan = statement.plan(&mut connection).await;
        let reads_all = LARGE.iter().any(|table| plan.contains(&format!("Seq Scan on {table} ")));
        if reads_all || statement.is_of_the_trail() && sorts(&plan) {
            bad.push(format!("{}\n{plan}", statement.query));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
}
