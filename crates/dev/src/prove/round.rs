//! One round: some histories at once, under the same faults.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use fastrand::Rng;
use print_upload::catalog::Catalog;
use print_upload_client::{
    Client, Credential, connect,
    proto::{CatalogPrintJob, Principal, PrintTask, principal::Identity, print_task},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    call::Actor,
    faults::faults,
    grpc::Grpc,
    history::History,
    recorder::{Callers, Recorder},
    rest::Rest,
    script::{Script, scripts},
    system::{IDLE_TIMEOUT, REPLICAS, System},
};
use crate::sample::{self, Sample};

/// How long faults go on: about as long as the scripts.
const FAULTS_LAST: Duration = Duration::from_millis(2500);

/// How long the service may take to work again after the last fault.
const RECOVERY: Duration = Duration::from_secs(60);

/// A round, as it is run and run again.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// How many histories there are at once.
    pub histories: usize,
    /// Only this one of them, if any.
    pub only: Option<usize>,
    /// How many steps a client makes.
    pub steps: usize,
    pub has_faults: bool,
}

impl Plan {
    /// The scripts of a history. They depend on nothing but the seed, the number and the steps.
    fn scripts(&self, number: usize) -> Vec<Script> {
        let mut rng = Rng::with_seed(self.seed ^ (number as u64 + 1).rotate_left(32));
        scripts(&mut rng, self.steps, IDLE_TIMEOUT)
    }

    fn numbers(&self) -> Vec<usize> {
        self.only.map_or_else(|| (0..self.histories).collect(), |only| vec![only])
    }
}

/// Runs a round, and returns its histories.
pub async fn run(system: &Arc<System>, callers: &Arc<Callers>, plan: &Plan) -> anyhow::Result<Vec<History>> {
    let mut recorders = Vec::new();
    let mut catalog = Catalog::default();
    for number in plan.numbers() {
        let recorder = Recorder::new(Arc::clone(callers), format!("{}-{}", plan.seed, Uuid::now_v7()), Uuid::new_v4());
        add_job(&mut catalog, &recorder.job, recorder.document);
        recorders.push((number, Arc::new(recorder)));
    }
    catalog.push(&mut catalog_client(system)?).await.context("pushing the jobs")?;

    let mut injecting = JoinSet::new();
    if plan.has_faults {
        let system = Arc::clone(system);
        let faults = faults(&mut Rng::with_seed(plan.seed), FAULTS_LAST);
        injecting.spawn(async move {
            let mut effects = JoinSet::new();
            for (pause, fault) in faults {
                sleep(pause).await;
                let system = Arc::clone(&system);
                effects.spawn(async move { system.inject(fault).await.with_context(|| format!("{fault:?}")) });
            }
            effects.join_all().await.into_iter().collect::<anyhow::Result<Vec<()>>>()
        });
    }
    let mut clients = JoinSet::new();
    for (number, recorder) in &recorders {
        for (client, script) in plan.scripts(*number).into_iter().enumerate() {
            let recorder = Arc::clone(recorder);
            clients.spawn(async move { recorder.run(client, script).await });
        }
    }
    let begun = Instant::now();
    clients.join_all().await;
    let clients_ended = begun.elapsed();
    for injected in injecting.join_all().await {
        injected?;
    }
    let faults_ended = begun.elapsed();
    wait_until_ready(system).await?;
    tracing::debug!(?clients_ended, ?faults_ended, ready = ?begun.elapsed(), "the service works again");
    let mut reads = JoinSet::new();
    for (_, recorder) in &recorders {
        let recorder = Arc::clone(recorder);
        reads.spawn(async move { recorder.read_everything(usize::MAX).await });
    }
    reads.join_all().await;
    Ok(recorders.into_iter().map(|(number, recorder)| history(plan.seed, number, recorder)).collect())
}

/// Every caller of the system.
pub fn callers(system: &System) -> anyhow::Result<Arc<Callers>> {
    let tokens = [(Actor::Creator, "OWNER_TOKEN"), (Actor::Other, "OTHER_TOKEN"), (Actor::Application, "APP_TOKEN")];
    let http = reqwest::Client::builder().no_proxy().build()?;
    let gateway = format!("http://{}", system.gateway_proxy.address);
    let mut callers =
        Callers { grpc: Default::default(), catalog: vec![], rest: Default::default(), transports: vec![] };
    for replica in 0..REPLICAS {
        let transport = connect(&[format!("http://{}", system.replicas[replica].clients.address)], None)?;
        for (actor, name) in tokens {
            let credential = Credential::access_token(system.token(name)?)?;
            callers.grpc.insert((replica, actor), Grpc::over(transport.clone(), credential));
        }
        let catalog = Credential::access_token(system.token("CATALOG_TOKEN")?)?;
        callers.catalog.push(Grpc::over(transport.clone(), catalog));
        callers.transports.push(transport);
    }
    for (actor, name) in tokens {
        let token = system.token(name)?.to_owned();
        callers.rest.insert(actor, Rest { http: http.clone(), gateway: gateway.clone(), token });
    }
    Ok(Arc::new(callers))
}

/// Pushes the tenant with its printer.
pub async fn push_tenant(system: &System) -> anyhow::Result<()> {
    Sample::new().catalog.push(&mut catalog_client(system)?).await.context("pushing the tenant").map(drop)
}

pub fn catalog_client(system: &System) -> anyhow::Result<Client> {
    let transport = connect(&[format!("http://{}", system.replicas[0].clients.address)], None)?;
    Ok(Client::over(transport, Credential::access_token(system.token("CATALOG_TOKEN")?)?))
}

/// Adds a job of the creator's, with a task that lets the application work on it.
pub fn add_job(catalog: &mut Catalog, job: &str, document: Uuid) {
    let name = format!("tenants/{}/printers/{}/jobs/{job}", sample::TENANT, sample::PRINTER);
    catalog.jobs.push(CatalogPrintJob {
        name: name.clone(),
        creator: Some(Principal { identity: Some(Identity::User(sample::OWNER.into())) }),
        document: document.to_string(),
        revision: 1,
    });
    catalog.tasks.push(PrintTask {
        name: format!("{name}/tasks/1"),
        trigger_application: sample::APPLICATION.into(),
        state: print_task::State::Processing.into(),
        revision: 1,
    });
}

/// Waits until both replicas and the gateway answer.
async fn wait_until_ready(system: &System) -> anyhow::Result<()> {
    let deadline = Instant::now() + RECOVERY;
    loop {
        if system.is_ready().await {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "the service does not work again {RECOVERY:?} after the last fault");
        sleep(Duration::from_millis(20)).await;
    }
}

fn history(seed: u64, number: usize, recorder: Arc<Recorder>) -> History {
    let document = recorder.document;
    // Every client has ended: this is the last reference.
    let calls = Arc::into_inner(recorder).map(Recorder::into_calls).unwrap_or_default();
    History { seed, number, document, idle_timeout: IDLE_TIMEOUT, calls }
}
