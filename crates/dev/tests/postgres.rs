//! The private Postgres: it keeps its data, has one owner, and never outlives it.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use print_upload_dev::postgres::{Binaries, Cluster, Durability};
use sqlx::{Connection, PgConnection};

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("print-upload-test-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path)?;
        // As root Postgres runs as someone else, who has to pass through.
        fs::set_permissions(&path, Permissions::from_mode(0o711))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with_postgres(temp: &Path, script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_print-upload-dev"));
    command.args(["with-postgres", "--", "sh", "-c", script]);
    command.env("TMPDIR", temp).env_remove("DATABASE_URL");
    command
}

async fn store(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql("create table kept (value int); insert into kept values (42)").execute(&mut connection).await?;
    Ok(connection.close().await?)
}

async fn stored(url: &str) -> Result<i32> {
    let mut connection = PgConnection::connect(url).await?;
    let value = sqlx::query_scalar("select value from kept").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(value)
}

/// Waits until nobody listens on the URL's port.
fn wait_until_refused(url: &str) -> Result<()> {
    let address = url.split(['@', '/']).nth(3).context("an address in the URL")?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(address).is_ok() {
        ensure!(Instant::now() < deadline, "Postgres still listens on {address}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn first_line(child: &mut Child) -> Result<String> {
    let mut line = String::new();
    let output = child.stdout.as_mut().context("the command's output")?;
    BufReader::new(output).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

#[tokio::test]
async fn data_outlives_a_restart_and_the_folder_has_one_owner() -> Result<()> {
    let folder = Folder::new()?;
    let dir = folder.0.join("postgres");
    // What an initialisation leaves behind which was killed.
    fs::create_dir_all(dir.join("data.new/base"))?;
    fs::set_permissions(&dir, Permissions::from_mode(0o711))?;

    let cluster = Cluster::start(&dir, Durability::Scratch).await?;
    store(cluster.url()).await?;
    let refused = Cluster::start(&dir, Durability::Scratch).await.err().context("a second owner")?;
    assert!(refused.to_string().contains("another process uses"), "{refused:#}");
    let secret = fs::metadata(dir.join("password"))?.permissions().mode();
    assert_eq!(secret & 0o777, 0o600);
    cluster.stop().await?;

    let cluster = Cluster::start(&dir, Durability::Durable).await?;
    assert_eq!(stored(cluster.url()).await?, 42);
    cluster.stop().await
}

#[tokio::test]
async fn a_killed_owner_takes_postgres_along_and_the_data_stays() -> Result<()> {
    let folder = Folder::new()?;
    // It ends with its standard input, which is ours: nothing of this test is left behind.
    let mut owner = with_postgres(&folder.0, "echo \"$DATABASE_URL\"; exec cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let url = first_line(&mut owner)?;
    store(&url).await?;

    owner.kill()?;
    owner.wait()?;
    wait_until_refused(&url)?;

    let dir = fs::read_dir(&folder.0)?.next().context("the folder of Postgres")??.path();
    let cluster = Cluster::start(&dir, Durability::Scratch).await?;
    assert_eq!(stored(cluster.url()).await?, 42);
    cluster.stop().await
}

#[test]
fn the_command_has_a_postgres_and_its_exit_status_is_passed_on() -> Result<()> {
    let folder = Folder::new()?;
    let mut command = with_postgres(&folder.0, "echo \"$DATABASE_URL\"; exit 7").stdout(Stdio::piped()).spawn()?;
    let url = first_line(&mut command)?;

    assert!(url.starts_with("postgres://print_upload:"), "{url}");
    assert_eq!(command.wait()?.code(), Some(7));
    wait_until_refused(&url)?;
    assert_eq!(fs::read_dir(&folder.0)?.count(), 0, "the temporary folder is left");
    Ok(())
}

#[test]
fn with_a_database_url_nothing_is_started() -> Result<()> {
    let folder = Folder::new()?;
    let status = with_postgres(&folder.0, "test \"$DATABASE_URL\" = theirs && kill -TERM $$")
        .env("DATABASE_URL", "theirs")
        .status()?;

    assert_eq!(status.code(), Some(128 + 15));
    assert_eq!(fs::read_dir(&folder.0)?.count(), 0);
    Ok(())
}

#[test]
fn data_of_another_version_is_refused_by_both_versions() -> Result<()> {
    let found = Binaries::find(None)?.major();
    assert_eq!(Binaries::find(Some(found))?.major(), found);

    let refused = Binaries::find(Some(9)).err().context("version 9")?.to_string();

    assert!(refused.contains("Postgres 9"), "{refused}");
    assert!(refused.contains(&found.to_string()), "{refused}");
    Ok(())
}
