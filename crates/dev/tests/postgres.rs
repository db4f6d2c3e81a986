//! The private Postgres: it keeps its data, has one owner, and ends with its owner.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use print_upload_dev::{
    ScratchFolder,
    postgres::{Binaries, Cluster, Durability},
};
use sqlx::{Connection, PgConnection};

fn with_postgres(temp: &Path, script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_print-upload-dev"));
    command.args(["with-postgres", "--", "sh", "-c", script]);
    command.env("TMPDIR", temp).env_remove("DATABASE_URL");
    command
}

async fn store(url: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql("create table kept (value int); insert into kept values (42)").execute(&mut connection).await?;
    Ok(connection.close().await?)
}

async fn stored(url: &str) -> anyhow::Result<i32> {
    let mut connection = PgConnection::connect(url).await?;
    let value = sqlx::query_scalar("select value from kept").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(value)
}

/// Waits until no process listens on the URL's port.
fn wait_until_refused(url: &str) -> anyhow::Result<()> {
    let address = url.split(['@', '/']).nth(3).context("an address in the URL")?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(address).is_ok() {
        ensure!(Instant::now() < deadline, "Postgres still listens on {address}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn first_line(child: &mut Child) -> anyhow::Result<String> {
    let mut line = String::new();
    let output = child.stdout.as_mut().context("the command's output")?;
    BufReader::new(output).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

#[tokio::test]
async fn data_outlives_a_restart_and_the_folder_has_one_owner() -> anyhow::Result<()> {
    let folder = ScratchFolder::new("test")?;
    let dir = folder.path().join("postgres");
    // What a killed initdb leaves behind.
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
async fn a_killed_owner_takes_postgres_along_and_the_data_stays() -> anyhow::Result<()> {
    let folder = ScratchFolder::new("test")?;
    // It ends with its standard input, which this test holds: nothing is left behind.
    let mut owner = with_postgres(folder.path(), "echo \"$DATABASE_URL\"; exec cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let url = first_line(&mut owner)?;
    store(&url).await?;

    owner.kill()?;
    owner.wait()?;
    wait_until_refused(&url)?;

    let dir = fs::read_dir(folder.path())?.next().context("the folder of Postgres")??.path();
    let cluster = Cluster::start(&dir, Durability::Scratch).await?;
    assert_eq!(stored(cluster.url()).await?, 42);
    cluster.stop().await
}

#[test]
fn the_command_has_a_postgres_and_its_exit_status_is_passed_on() -> anyhow::Result<()> {
    let folder = ScratchFolder::new("test")?;
    let mut command = with_postgres(folder.path(), "echo \"$DATABASE_URL\"; exit 7").stdout(Stdio::piped()).spawn()?;
    let url = first_line(&mut command)?;

    assert!(url.starts_with("postgres://print_upload:"), "{url}");
    assert_eq!(command.wait()?.code(), Some(7));
    wait_until_refused(&url)?;
    assert_eq!(fs::read_dir(folder.path())?.count(), 0, "the temporary folder is left");
    Ok(())
}

#[test]
fn with_a_database_url_nothing_is_started() -> anyhow::Result<()> {
    let folder = ScratchFolder::new("test")?;
    let status = with_postgres(folder.path(), "test \"$DATABASE_URL\" = theirs && kill -TERM $$")
        .env("DATABASE_URL", "theirs")
        .status()?;

    assert_eq!(status.code(), Some(128 + 15));
    assert_eq!(fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}

#[test]
fn data_of_another_version_is_refused_by_both_versions() -> anyhow::Result<()> {
    let found = Binaries::find(None)?.major();
    assert_eq!(Binaries::find(Some(found))?.major(), found);

    let refused = Binaries::find(Some(9)).err().context("version 9")?.to_string();

    assert!(refused.contains("Postgres 9"), "{refused}");
    assert!(refused.contains(&found.to_string()), "{refused}");
    Ok(())
}
