//! Starting a cluster: from a folder to a server that accepts connections.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::time::{sleep, timeout};

use super::{
    account::Account,
    binaries::Binaries,
    cluster::Cluster,
    durability::Durability,
    folder::Folder,
    initdb, standby,
    supervised::{STOP, Supervised},
};

/// Long: Postgres may have to recover from a crash first.
const START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// How many ports are tried: another process may take one between the moment it is chosen and the moment it is used.
const PORT_TRIES: usize = 5;

/// What a start needs.
pub(super) struct Start {
    pub(super) folder: Folder,
    binaries: Binaries,
    account: Account,
    durability: Durability,
    /// The superuser's password.
    pub(super) password: String,
    lock: File,
    log: File,
}

impl Start {
    /// Prepares the folder, the programs and the data. New data are those of a standby, if a primary is given. As long
    /// as the file is open, this process owns the folder.
    pub(super) async fn prepare(
        dir: &Path,
        durability: Durability,
        primary: Option<&Cluster>,
    ) -> anyhow::Result<(Self, File)> {
        let folder = Folder::open(dir)?;
        let owned = folder.own().await?;
        let binaries = Binaries::find(folder.major()?)?;
        let account = Account::choose(&folder.data())?;
        account.check_access(folder.path(), &binaries).await?;
        let lock = folder.server_lock().await?;
        let log = folder.new_log()?;
        if !folder.data().exists() {
            match primary {
                None => initdb::run(&folder, &binaries, &account, durability, &lock, &log).await?,
                Some(primary) => standby::copy(primary, &folder, &binaries, &account, &lock, &log).await?,
            }
        }
        let password = fs::read_to_string(folder.password())
            .with_context(|| format!("{}: without it the data beside it are lost", folder.password().display()))?;
        folder.remove_stale_pid_file()?;
        Ok((Self { folder, binaries, account, durability, password, lock, log }, owned))
    }

    /// Starts the server on a free port.
    pub(super) async fn on_any_port(&self) -> anyhow::Result<(Supervised, u16)> {
        for _ in 0..PORT_TRIES {
            let port = free_port()?;
            if let Some(server) = self.on_port(port).await? {
                return Ok((server, port));
            }
            tracing::debug!(port, "the port has been taken meanwhile");
        }
        bail!("no port for Postgres: {PORT_TRIES} were taken by others just before their use")
    }

    /// Starts the server on a port. `None` when another process has the port.
    async fn on_port(&self, port: u16) -> anyhow::Result<Option<Supervised>> {
        let log_start = self.log.metadata()?.len();
        let program = self.binaries.program("postgres");
        let arguments = self.arguments(port);
        let mut server = Supervised::spawn(&self.account, &program, &arguments, &self.lock, &self.log)?;
        let ready = timeout(START, self.wait_until_ready(&mut server, port, log_start)).await.unwrap_or_else(|_| {
            Err(anyhow!("Postgres is not ready after {} s{}", START.as_secs(), self.folder.log_tail(0)))
        });
        if let Ok(true) = ready {
            return Ok(Some(server));
        }
        // Nothing may keep running: the next try needs the folder.
        let stopped = server.stop(STOP).await;
        ready?;
        stopped.map(|()| None)
    }

    fn arguments(&self, port: u16) -> Vec<String> {
        // On the command line, so that no old file in the data folder overrides them.
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
            "logging_collector=off",
            "log_destination=stderr",
        ];
        let mut arguments = vec!["-D".to_owned(), self.folder.data().display().to_string()];
        arguments.extend(["-p".to_owned(), port.to_string()]);
        for setting in settings.iter().chain(self.durability.settings()) {
            arguments.extend(["-c".to_owned(), (*setting).to_owned()]);
        }
        arguments
    }

    /// Waits until the server accepts connections, and makes sure that it has our database. `false` when the port
    /// belongs to another process.
    async fn wait_until_ready(&self, server: &mut Supervised, port: u16, log_start: u64) -> anyhow::Result<bool> {
        loop {
            if let Some(status) = server.exit_status()? {
                let tail = self.folder.log_tail(log_start);
                if tail.contains("could not create any TCP/IP sockets") {
                    return Ok(false);
                }
                bail!("Postgres did not start ({status}){tail}");
            }
            // The pid file comes first: the password must not be sent to another process that has the port.
            if self.folder.is_ready(port)
                && let Some(mut connection) = self.connect(port).await?
            {
                let ours = self.is_ours(&mut connection).await? && {
                    create_database(&mut connection).await?;
                    true
                };
                connection.close().await?;
                return Ok(ours);
            }
            sleep(POLL).await;
        }
    }

    async fn connect(&self, port: u16) -> anyhow::Result<Option<PgConnection>> {
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(port)
            .username("print_upload")
            .password(&self.password)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable);
        match PgConnection::connect_with(&options).await {
            Ok(connection) => Ok(Some(connection)),
            // The pid file of a crashed server is marked ready too, until the new server replaces it.
            Err(sqlx::Error::Io(_)) => Ok(None),
            Err(error) => Err(error).context("connecting to Postgres"),
        }
    }

    async fn is_ours(&self, connection: &mut PgConnection) -> anyhow::Result<bool> {
        let data: String = sqlx::query_scalar("show data_directory").fetch_one(connection).await?;
        Ok(Path::new(&data) == self.folder.data())
    }
}

async fn create_database(connection: &mut PgConnection) -> anyhow::Result<()> {
    let exists = "select exists (select from pg_database where datname = 'print_upload')";
    if sqlx::query_scalar(exists).fetch_one(&mut *connection).await? {
        return Ok(());
    }
    sqlx::query("create database print_upload").execute(connection).await?;
    Ok(())
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_of_someone_else_is_left_alone() -> anyhow::Result<()> {
        let dir = std::env::temp_dir().join(format!("print-upload-test-{}", uuid::Uuid::new_v4()));
        let (start, _owned) = Start::prepare(&dir, Durability::Scratch, None).await?;
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;

        assert!(start.on_port(taken.local_addr()?.port()).await?.is_none());

        let server = start.on_port(free_port()?).await?.context("a free port")?;
        server.stop(STOP).await?;
        Ok(std::fs::remove_dir_all(&dir)?)
    }
}
