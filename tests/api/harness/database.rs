//! One database a test, from a migrated template.

use std::{
    env,
    time::{Duration, SystemTime},
};

use print_upload::store::MIGRATOR;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::sync::OnceCell;
use uuid::Uuid;

const NO_DATABASE: &str = "\
DATABASE_URL is not set, and this test needs Postgres.
`make test T=delete` starts one and runs the tests whose names contain \"delete\". By hand:
    cargo build --workspace --bins
    target/debug/print-upload-dev with-postgres -- cargo test --test api delete
";

/// A database for one test. It stays when the test ends, so that it can be inspected. The throw-away Postgres is
/// deleted as a whole; in any other Postgres the next run drops old databases.
#[derive(Debug)]
pub struct Database {
    pub url: String,
    /// The test's own connections, beside the service's.
    pub pool: PgPool,
}

impl Database {
    pub async fn create() -> Self {
        let template = template().await;
        let name = format!("test_{}", Uuid::now_v7().simple());
        let mut admin = admin().await;
        execute(&mut admin, format!("create database {name} template {template}")).await;
        Self::named(&name)
    }

    /// A database of its own without any schema.
    pub async fn empty() -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        execute(&mut admin().await, format!("create database {name}")).await;
        Self::named(&name)
    }

    /// The database at an address, as it is.
    pub fn at(url: &str) -> Self {
        Self { url: url.to_owned(), pool: PgPool::connect_lazy(url).expect("a pool") }
    }

    /// Changes a setting that new connections to this database have by default; `None` resets it.
    pub async fn set_default(&self, setting: &str, value: Option<&str>) {
        let mut admin = admin().await;
        let name = self.pool.connect_options().get_database().expect("a name").to_owned();
        let change = match value {
            Some(value) => format!("alter database {name} set {setting} = '{value}'"),
            None => format!("alter database {name} reset {setting}"),
        };
        execute(&mut admin, change).await;
    }

    /// Ends the connections of the service, so that it opens new ones.
    pub async fn end_connections(&self) {
        let mut admin = admin().await;
        let name = self.pool.connect_options().get_database().expect("a name").to_owned();
        let end = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = '{name}' and application_name = 'print-upload'"
        );
        execute(&mut admin, end).await;
    }

    fn named(name: &str) -> Self {
        Self::at(server().database(name).to_url_lossy().as_str())
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
        // Another test process may do the same at this moment.
        execute(&mut admin, "select pg_advisory_lock(20261123)".into()).await;
        drop_old_databases(&mut admin).await;
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

/// Drops the databases of tests that started more than an hour ago. The time is in their names.
async fn drop_old_databases(admin: &mut PgConnection) {
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let names: Vec<String> = sqlx::query_scalar("select datname::text from pg_database where datname like 'test\\_%'")
        .fetch_all(&mut *admin)
        .await
        .expect("a list of databases");
    for name in names {
        let started = Uuid::try_parse(name.trim_start_matches("test_")).ok().and_then(|id| id.get_timestamp());
        let started = started.map(|time| SystemTime::UNIX_EPOCH + Duration::from_secs(time.to_unix().0));
        if started.is_some_and(|started| started < an_hour_ago) {
            execute(admin, format!("drop database if exists {name} with (force)")).await;
        }
    }
}

fn server() -> PgConnectOptions {
    let url = env::var("DATABASE_URL").unwrap_or_else(|_| panic!("{NO_DATABASE}"));
    url.parse().expect("DATABASE_URL is an address")
}

async fn admin() -> PgConnection {
    PgConnection::connect_with(&server()).await.expect("Postgres answers")
}

async fn execute(connection: &mut PgConnection, statement: String) {
    // The names in it are this file's own.
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.expect("the statement runs");
}
