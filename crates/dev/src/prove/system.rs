//! What a history runs on: a durable Postgres, two replicas and a gateway, each a process of its own, behind proxies.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    faults::{Delay, Fault},
    proxy::Proxy,
};
use crate::{
    ScratchFolder,
    issuer::{AUDIENCE, TokenIssuer},
    postgres::{Cluster, Durability},
    process::{Process, Start},
    sample,
    stack::lookup,
};

/// How many replicas there are.
pub const REPLICAS: usize = 2;

const REPLICA_NAMES: [&str; REPLICAS] = ["replica 0", "replica 1"];

/// How long a session lives without a range, in this system. Short, so that sessions expire in the middle of histories.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a range may take, in this system.
pub const RANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a replica is started again and again.
const RESTARTS: Duration = Duration::from_secs(60);

/// Everything that runs.
pub struct System {
    folder: ScratchFolder,
    cluster: Mutex<Option<Cluster>>,
    /// One fault of the store at a time.
    store: Mutex<()>,
    pub replicas: Vec<Replica>,
    gateway: Process,
    pub gateway_proxy: Proxy,
    /// For the replicas' probes and metrics.
    http: reqwest::Client,
    /// By the names of `dev.env`.
    tokens: Vec<(&'static str, String)>,
    issuing: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
}

/// A process of `serve`, and the proxies before and behind it.
pub struct Replica {
    start: Start,
    process: Mutex<Running>,
    pub clients: Proxy,
    database: Proxy,
}

struct Running {
    process: Option<Process>,
    admin: String,
}

impl System {
    /// Starts everything, with `program` as the service.
    pub async fn start(program: &Path) -> anyhow::Result<Self> {
        let folder = ScratchFolder::new("prove")?;
        let cluster = Cluster::start(&folder.path().join("postgres"), Durability::Durable).await?;
        print_upload::store::migrate(cluster.url(), None).await?;
        make_store(folder.path())?;

        let stop = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let issuer = TokenIssuer::open(folder.path(), listener.local_addr()?)?;
        let (tokens, address) = (sample::tokens(&issuer)?, issuer.address.clone());
        let issuing = tokio::spawn(issuer.serve(listener, stop.clone()));

        let gateway_proxy = Proxy::start().await?;
        let mut replicas = Vec::new();
        for name in REPLICA_NAMES {
            let flags = serve_flags(folder.path(), &address, &gateway_proxy)?;
            let start = Start { program: program.into(), arguments: flags, name, log_folder: folder.path().to_owned() };
            replicas.push(Replica::start(start, &cluster).await?);
        }
        let mut arguments = vec!["gateway".to_owned(), "--rest-listen=127.0.0.1:0".to_owned()];
        arguments.extend(replicas.iter().map(|replica| format!("--upstream=http://{}", replica.clients.address)));
        let log_folder = folder.path().to_owned();
        let start = Start { program: program.into(), arguments, name: "gateway", log_folder };
        let (gateway, addresses) = start.run(&["serving REST"]).await?;
        gateway_proxy.set_target(addresses.first().copied());
        let (cluster, store) = (Mutex::new(Some(cluster)), Mutex::default());
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { folder, cluster, store, replicas, gateway, gateway_proxy, http, tokens, issuing, stop })
    }

    /// A token, by its name.
    pub fn token(&self, name: &str) -> anyhow::Result<&str> {
        lookup(&self.tokens, name)
    }

    /// Whether both replicas are ready, and the gateway.
    pub async fn is_ready(&self) -> bool {
        for replica in &self.replicas {
            let url = format!("http://{}/readyz", replica.process.lock().await.admin);
            if !self.http.get(url).send().await.is_ok_and(|response| response.status().is_success()) {
                return false;
            }
        }
        true
    }

    /// The folder of the tenant's objects.
    pub fn objects_folder(&self) -> PathBuf {
        real_tenant_folder(self.folder.path())
    }

    /// The address of Postgres at the moment.
    pub async fn database_url(&self) -> anyhow::Result<String> {
        Ok(self.cluster.lock().await.as_ref().context("Postgres is not running")?.url().to_owned())
    }

    /// Injects a fault. Returns when its effect has ended.
    pub async fn inject(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::CutClients(replica) => self.replicas[replica].clients.cut(),
            Fault::CutDatabase(replica) => self.replicas[replica].database.cut(),
            Fault::CutGateway => self.gateway_proxy.cut(),
            Fault::DelayClients(replica, delay) => self.replicas[replica].clients.delay(delay).await,
            Fault::DelayDatabase(replica, delay) => self.replicas[replica].database.delay(delay).await,
            Fault::KillReplica(replica) => self.replicas[replica].restart().await?,
            Fault::StopReplica(replica, lasts) => {
                let running = self.replicas[replica].process.lock().await;
                let process = running.process.as_ref().context("no process")?;
                process.stop()?;
                sleep(lasts).await;
                process.resume()?;
            }
            Fault::CrashPostgres => self.crash_postgres().await?,
            Fault::FailStore(lasts) => {
                let _one = self.store.lock().await;
                point_tenant_to(self.folder.path(), &broken_file(self.folder.path()))?;
                sleep(lasts).await;
                point_tenant_to(self.folder.path(), &real_tenant_folder(self.folder.path()))?;
            }
        }
        Ok(())
    }

    async fn crash_postgres(&self) -> anyhow::Result<()> {
        let mut cluster = self.cluster.lock().await;
        cluster.take().context("Postgres is not running")?.crash().await?;
        let started = Cluster::start(&self.folder.path().join("postgres"), Durability::Durable).await?;
        for replica in &self.replicas {
            replica.database.set_target(Some(started.address()?));
        }
        *cluster = Some(started);
        Ok(())
    }

    /// The metrics of a replica.
    pub async fn metrics(&self, replica: usize) -> anyhow::Result<String> {
        let url = format!("http://{}/metrics", self.replicas[replica].process.lock().await.admin);
        Ok(self.http.get(url).send().await?.error_for_status()?.text().await?)
    }

    /// Fails if a process has ended by itself.
    pub async fn check_processes(&mut self) -> anyhow::Result<()> {
        for replica in &mut self.replicas {
            let log = replica.start.log_file();
            if let Some(process) = &mut replica.process.get_mut().process {
                process.check(replica.start.name, &log)?;
            }
        }
        self.gateway.check("the gateway", &self.folder.path().join("gateway.log"))
    }

    /// Stops everything.
    pub async fn stop(self) -> anyhow::Result<()> {
        for replica in self.replicas {
            if let Some(process) = replica.process.into_inner().process {
                process.kill().await?;
            }
        }
        self.gateway.kill().await?;
        self.stop.cancel();
        self.issuing.await??;
        if let Some(cluster) = self.cluster.into_inner() {
            cluster.stop().await?;
        }
        Ok(())
    }
}

impl Replica {
    async fn start(mut start: Start, cluster: &Cluster) -> anyhow::Result<Self> {
        let (clients, database) = (Proxy::start().await?, Proxy::start().await?);
        database.set_target(Some(cluster.address()?));
        let direct = cluster.address()?.to_string();
        let url = cluster.url().replace(&direct, &database.address.to_string());
        start.arguments.push(format!("--database-url={url}"));
        let process = Mutex::new(Running { process: None, admin: String::new() });
        let replica = Self { start, process, clients, database };
        replica.run(replica.process.lock().await).await?;
        Ok(replica)
    }

    async fn restart(&self) -> anyhow::Result<()> {
        let mut running = self.process.lock().await;
        running.process.take().context("no process")?.kill().await?;
        self.run(running).await
    }

    async fn run(&self, mut running: MutexGuard<'_, Running>) -> anyhow::Result<()> {
        let deadline = Instant::now() + RESTARTS;
        let (process, addresses) = loop {
            // It ends at its start when Postgres is not there. Then a supervisor starts it again.
            match self.start.run(&["serving", "serving operators"]).await {
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(Duration::from_millis(200)).await,
                Ok(started) => break started,
            }
        };
        if let [grpc, admin] = addresses[..] {
            self.clients.set_target(Some(grpc));
            *running = Running { process: Some(process), admin: admin.to_string() };
        }
        Ok(())
    }
}

impl Proxy {
    async fn delay(&self, delay: Delay) {
        self.set_delay(delay.by);
        sleep(delay.lasts).await;
        self.set_delay(Duration::ZERO);
    }
}

fn serve_flags(folder: &Path, issuer: &str, gateway: &Proxy) -> anyhow::Result<Vec<String>> {
    let store = url::Url::from_file_path(folder.join("store")).map_err(|()| anyhow::anyhow!("not absolute"))?;
    Ok(vec![
        "serve".into(),
        "--listen=127.0.0.1:0".into(),
        "--admin-listen=127.0.0.1:0".into(),
        format!("--store={store}"),
        format!("--issuer={issuer}"),
        format!("--audience={AUDIENCE}"),
        format!("--catalog-client={}", sample::CATALOG_CLIENT),
        "--upload-token-key=a key that signs the upload URLs of this proof".into(),
        format!("--public-url=http://{}", gateway.address),
        format!("--session-idle-timeout={}s", IDLE_TIMEOUT.as_secs()),
        format!("--range-timeout={}s", RANGE_TIMEOUT.as_secs()),
        // A process that is killed has no calls that must end first.
        "--drain-timeout=1s".into(),
    ])
}

/// The store's folder. The tenant's folder in it is a symbolic link, so that one rename makes the store fail: a link to
/// a file cannot be entered.
fn make_store(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir(folder.join("store"))?;
    fs::create_dir(real_tenant_folder(folder))?;
    File::create(broken_file(folder))?;
    point_tenant_to(folder, &real_tenant_folder(folder))
}

fn point_tenant_to(folder: &Path, target: &Path) -> anyhow::Result<()> {
    let new = folder.join("new-link");
    symlink(target, &new)?;
    Ok(fs::rename(new, folder.join("store").join(sample::TENANT.to_string()))?)
}

fn real_tenant_folder(folder: &Path) -> PathBuf {
    folder.join("objects")
}

fn broken_file(folder: &Path) -> PathBuf {
    folder.join("broken")
}
