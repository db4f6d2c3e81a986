//! Rows that are made beforehand, as the service makes them: jobs with documents, and for each an active session, with
//! the audit trail. All ids are UUIDs v7, in the order of creation.
//!
//! The n-th session has the id with the time `FIRST_TIME + n` milliseconds and zeros instead of random bits. So pgbench,
//! whose variables are numbers, can make ids, and calls and pgbench consume rows of the same kind. Sessions that come one
//! after the other have neighboring places in the indexes, as in a service that makes a thousand of them a second.

use std::ops::Range;

use bytes::Bytes;
use print_upload_client::proto::{DeleteUploadSessionRequest, GetUploadSessionRequest};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};
use uuid::Uuid;

use super::grpc::frame;
use crate::sample::{OWNER, PRINTER, TENANT};

/// In milliseconds since 1970. Long ago: sessions that the service itself creates come after all of these.
pub const FIRST_TIME: u64 = 1_700_000_000_000;

/// What follows the time in an id: the version, the variant, and zeros.
pub const REST_OF_ID: &str = "70008000000000000000";

/// The numbers of two jobs that come one after the other differ by this, modulo 10^9.
const JOB_STEP: u64 = 618_033_989;

/// How many are made with one statement.
const BATCH: u64 = 20_000;

/// Makes the rows with the numbers `$1` to `$2`. `$3` is whether the documents have sessions.
///
/// The numbers of jobs are nine digits in no order, as random ones are, but no two are equal.
const FILL: &str = "
    with made as materialized (
        select n, (lpad(to_hex(FIRST_TIME + n), 12, '0') || 'REST_OF_ID')::uuid as document_id, (n * JOB_STEP % 1000000000)::text as job_id,
               (lpad(to_hex(FIRST_TIME + n), 12, '0') || 'REST_OF_ID')::uuid as session_id,
               to_timestamp((FIRST_TIME + n) / 1000.0) as time
        from generate_series($1::bigint, $2) n
    ), jobs as (
        insert into print_job (tenant_id, printer_id, job_id, created_by, revision)
        select 'TENANT', 'PRINTER', job_id, 'user:OWNER', 0 from made
    ), documents as (
        insert into print_document (tenant_id, document_id, printer_id, job_id)
        select 'TENANT', document_id, 'PRINTER', job_id from made
    ), sessions as (
        insert into upload_session (tenant_id, session_id, document_id, owner, document_name, content_type, size_bytes,
                                    create_time, expire_time, expire_limit, sweep_time)
        select 'TENANT', session_id, document_id, 'user:OWNER', 'poster.pdf', 'application/pdf', 1048576,
               time, now() + interval '20 hours', now() + interval '24 hours', now() + interval '20 hours'
        from made where $3
    )
    insert into audit (audit_time, tenant_id, session_id, document_id, action, actor, credential, request_id)
    select time, 'TENANT', session_id, document_id, 'create', 'user:OWNER', 'access-token', gen_random_uuid()::text
    from made where $3";

/// The sample tenant's documents in one database.
pub struct Documents {
    connection: PgConnection,
    next: u64,
}

impl Documents {
    /// Deletes all rows of a database, and makes the sample tenant with its printer.
    pub async fn of(mut connection: PgConnection) -> anyhow::Result<Self> {
        connection.execute("truncate tenant, upload_session, reclaim, audit restart identity cascade").await?;
        connection
            .execute(AssertSqlSafe(with_names(
                "insert into tenant (tenant_id, subscription_active, revision) values ('TENANT', true, 0);
                 insert into printer (tenant_id, printer_id, revision) values ('TENANT', 'PRINTER', 0)",
            )))
            .await?;
        Ok(Self { connection, next: 0 })
    }

    /// Adds active sessions, each with a document of its own. Returns their numbers.
    pub async fn add_sessions(&mut self, count: usize) -> anyhow::Result<Range<u64>> {
        self.add(count, true).await
    }

    /// Adds documents without a session, and returns their names.
    pub async fn add_documents(&mut self, count: usize) -> anyhow::Result<Vec<String>> {
        let numbers = self.add(count, false).await?;
        let jobs: Vec<String> = numbers.map(job_id).collect();
        let rows = sqlx::query("select job_id, document_id from print_document where job_id = any($1)");
        rows.bind(jobs).fetch_all(&mut self.connection).await?.iter().map(document_name).collect()
    }

    /// The names of the documents of sessions, in the order of the sessions.
    pub async fn names(&mut self, numbers: Range<u64>) -> anyhow::Result<Vec<String>> {
        let rows = sqlx::query(
            "select job_id, document_id from upload_session join print_document using (tenant_id, document_id)
             where session_id >= $1 and session_id < $2 order by session_id",
        );
        let rows = rows.bind(session_id(numbers.start)).bind(session_id(numbers.end));
        rows.fetch_all(&mut self.connection).await?.iter().map(document_name).collect()
    }

    /// Does what autovacuum would do during the measurement, and writes all dirty pages.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        for table in ["print_job", "print_document", "upload_session", "reclaim", "audit"] {
            self.connection.execute(AssertSqlSafe(format!("vacuum (analyze) {table}"))).await?;
        }
        self.connection.execute("checkpoint").await?;
        Ok(())
    }

    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    async fn add(&mut self, count: usize, have_sessions: bool) -> anyhow::Result<Range<u64>> {
        let numbers = self.next..self.next + count as u64;
        self.next = numbers.end;
        // Without the triggers of foreign keys: these rows are known to refer to each other.
        self.connection.execute("set session_replication_role = replica").await?;
        let mut first = numbers.start;
        while first < numbers.end {
            let last = numbers.end.min(first + BATCH) - 1;
            let fill = sqlx::query(AssertSqlSafe(with_names(FILL)));
            let fill = fill.bind(i64::try_from(first)?).bind(i64::try_from(last)?).bind(have_sessions);
            fill.execute(&mut self.connection).await?;
            first = last + 1;
        }
        self.connection.execute("reset session_replication_role").await?;
        Ok(numbers)
    }
}

/// Puts the constants' values where their names are.
pub fn with_names(text: &str) -> String {
    text.replace("FIRST_TIME", &FIRST_TIME.to_string())
        .replace("JOB_STEP", &JOB_STEP.to_string())
        .replace("REST_OF_ID", REST_OF_ID)
        .replace("TENANT", &TENANT.to_string())
        .replace("PRINTER", PRINTER)
        .replace("OWNER", OWNER)
}

fn job_id(number: u64) -> String {
    (number * JOB_STEP % 1_000_000_000).to_string()
}

/// The id of a session by its number.
pub fn session_id(number: u64) -> Uuid {
    let rest = u128::from_str_radix(REST_OF_ID, 16).unwrap_or_default();
    Uuid::from_u128(u128::from(FIRST_TIME + number) << 80 | rest)
}

/// GetUploadSession of a session.
pub fn get(number: u64) -> Bytes {
    frame(&GetUploadSessionRequest { name: format!("uploadSessions/{}", session_id(number)) })
}

/// DeleteUploadSession by the session's id.
pub fn delete(number: u64) -> Bytes {
    delete_by_name(format!("uploadSessions/{}", session_id(number)))
}

pub fn delete_by_name(name: String) -> Bytes {
    frame(&DeleteUploadSessionRequest { name, ..Default::default() })
}

fn document_name(row: &sqlx::postgres::PgRow) -> anyhow::Result<String> {
    let (job, document): (String, Uuid) = (row.try_get("job_id")?, row.try_get("document_id")?);
    Ok(format!("printers/{PRINTER}/jobs/{job}/documents/{document}"))
}
