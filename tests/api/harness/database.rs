//! One database a test, from a migrated template.

use std::{env, thread};

use print_upload::store::MIGRATOR;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// A database of its own, gone with the test unless that has failed.
#[derive(Debug)]
pub struct Database {
    name: String,
    /// Its address.
    pub url: String,
    /// A way in beside the service's, to look and to meddle.
    pub pool: PgPool,
}

impl Database {
    pub async fn create() -> Self {
        let template = template().await;
        let name = format!("test_{}", Uuid::now_v7().simple());
        let mut admin = admin().await;
        execute(&mut admin, format!("create database {name} template {template}")).await;
        let url = server().database(&name).to_url_lossy().to_string();
        let pool = PgPool::connect_lazy(&url).expect("a pool");
        Self { name, url, pool }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the test's database is kept: {}", self.name);
            return;
        }
        let statement = format!("drop database {} with (force)", self.name);
        let dropped = thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { execute(&mut admin().await, statement).await });
        });
        dropped.join().expect("the test's database is dropped");
    }
}

/// The name of a database that has this program's schema.
async fn template() -> String {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    let create = async || {
        let schema: String =
            MIGRATOR.iter().flat_map(|migration| migration.checksum.iter()).map(|b| format!("{b:02x}")).collect();
        let name = format!("template_{:08x}", crc32c::crc32c(schema.as_bytes()));
        let mut admin = admin().await;
        // Another test process may be at it as well.
        execute(&mut admin, "select pg_advisory_lock(20261123)".into()).await;
        let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut admin)
            .await
            .expect("a list of databases");
        if !exists {
            let unfinished = format!("{name}_new");
            execute(&mut admin, format!("drop database if exists {unfinished}")).await;
            execute(&mut admin, format!("create database {unfinished}")).await;
            let mut fresh = PgConnection::connect_with(&server().database(&unfinished)).await.expect("a connection");
            MIGRATOR.run(&mut fresh).await.expect("migrations apply");
            fresh.close().await.expect("the template is left alone");
            execute(&mut admin, format!("alter database {unfinished} rename to {name}")).await;
        }
        name
    };
    TEMPLATE.get_or_init(create).await.clone()
}

fn server() -> PgConnectOptions {
    let url = env::var("DATABASE_URL").expect("DATABASE_URL: run the tests with `make test`");
    url.parse().expect("DATABASE_URL is an address")
}

async fn admin() -> PgConnection {
    PgConnection::connect_with(&server()).await.expect("Postgres answers")
}

async fn execute(connection: &mut PgConnection, statement: String) {
    // The names in it are this file's own.
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.expect("the statement runs");
}
