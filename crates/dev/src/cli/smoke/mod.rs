//! `print-upload-dev smoke`: what a running stack must do, checked from outside, through both of its doors. It says a line a
//! check, and fails at the first that does not hold.

mod door;
mod grpc;
mod replicas;
mod rest;
mod story;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Args;
use print_upload::{
    blobs::{Blobs, Folder},
    cli::Server,
    name::{SessionId, TenantId},
};
use print_upload_client::{Client, Credential, Transport, proto::CreatePrintJobRequest};
use tokio::time::timeout;

use super::default_data_dir;
use crate::{
    issuer::{Subject, TokenIssuer},
    sample,
};
use door::Session;

/// How long the tokens hold: longer than any check.
const TOKEN_LIFETIME: Duration = Duration::from_secs(600);

/// How long all of it may take.
const SMOKE_TIMEOUT: Duration = Duration::from_secs(300);

/// How long bytes may stay after a cancel. It takes a second, while the store answers.
const RECLAIM_DEADLINE: Duration = Duration::from_secs(10);

/// Where the stack is. It must hold the sample tenants and their printer, and trust the development issuer.
#[derive(Debug, Args)]
pub(super) struct Smoke {
    /// The gRPC door.
    #[command(flatten)]
    server: Server,

    /// The REST door. Upload URLs are asked of it as well, wherever they point to.
    #[arg(long, env = "REST_URL", default_value = "http://127.0.0.1:8080")]
    rest_url: String,

    /// Folder of `up` or of `issuer`, which holds the issuer's keys [default: as for `up`].
    #[arg(long)]
    data_dir: Option<PathBuf>,

    /// The service's object store, as `serve` is told of it. Without it nobody looks whether a canceled upload's bytes are
    /// gone.
    #[arg(long, env = "STORE")]
    store: Option<String>,

    /// File with the store's settings, as `serve` is told of it.
    #[arg(long, env = "STORE_SETTINGS", requires = "store")]
    store_settings: Option<PathBuf>,
}

/// The users in the story, by their tokens.
#[derive(Debug)]
struct Cast {
    owner: String,
    other: String,
    foreigner: String,
}

/// The lines of what has been checked, and what it is checked with.
#[derive(Debug)]
struct Checks {
    held: usize,
    store: Option<Blobs>,
}

impl Smoke {
    /// Checks everything.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        timeout(SMOKE_TIMEOUT, self.check()).await.context("a door has stopped answering")?
    }

    async fn check(self) -> anyhow::Result<()> {
        let data_dir = self.data_dir.map_or_else(default_data_dir, Ok)?;
        let cast = Cast::new(&TokenIssuer::of_folder(&data_dir)?)?;
        let transport = self.server.connect()?;
        let open = |url: &String| Blobs::open(url, self.store_settings.as_deref(), &std::env::temp_dir());
        let store = self.store.as_ref().map(open).transpose().context("--store")?;
        let mut checks = Checks { held: 0, store };

        let grpc = grpc::Grpc::new(&transport);
        story::tell(&grpc, &cast, &new_document(&transport, &cast).await?, &mut checks).await?;
        let rest = rest::Rest::new(&self.rest_url)?;
        story::tell(&rest, &cast, &new_document(&transport, &cast).await?, &mut checks).await?;
        replicas::tell(&transport, &cast, &new_document(&transport, &cast).await?, &mut checks).await?;

        if checks.store.is_none() {
            println!("--  whether the object store holds anything of a canceled upload was not checked: no --store");
        }
        println!("all {} checks held", checks.held);
        Ok(())
    }
}

impl Cast {
    fn new(issuer: &TokenIssuer) -> anyhow::Result<Self> {
        let user = |tenant, oid: &str, scopes: &[&str]| {
            let scopes = scopes.iter().map(|&scope| scope.into()).collect();
            issuer.issue(tenant, &Subject::User { oid: oid.into(), scopes }, TOKEN_LIFETIME)
        };
        let own = ["PrintJob.Create", "PrintJob.ReadWrite", "Printer.Read.All"];
        let all = ["PrintJob.ReadWrite.All", "Printer.Read.All"];
        Ok(Self {
            owner: user(sample::TENANT, sample::OWNER, &own)?,
            other: user(sample::TENANT, sample::OTHER, &all)?,
            foreigner: user(sample::FOREIGN_TENANT, sample::OTHER, &all)?,
        })
    }
}

impl Checks {
    /// Says what held, or fails with what did not.
    fn check(&mut self, door: &str, what: &str, holds: bool) -> anyhow::Result<()> {
        ensure!(holds, "{door}: not so: {what}");
        println!("ok  {door}  {what}");
        self.held += 1;
        Ok(())
    }

    /// Looks whether the store, if it is known, is the one that holds what was sent.
    async fn something_is_kept(&mut self, door: &str, session: &Session) -> anyhow::Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let holds = !store.is_empty(folder_of(session)?).await?;
        self.check(door, "the object store holds what was sent", holds)
    }

    /// Waits until no object of a session is left, if the store is known.
    async fn nothing_is_left(&mut self, door: &str, session: &Session) -> anyhow::Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let folder = folder_of(session)?;
        let deadline = Instant::now() + RECLAIM_DEADLINE;
        while !store.is_empty(folder).await? {
            ensure!(Instant::now() < deadline, "{door}: the object store still holds bytes of a canceled upload");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.check(door, "the object store holds nothing of it", true)
    }
}

fn folder_of(session: &Session) -> anyhow::Result<Folder> {
    let session = SessionId(session.id.parse().context("the session's id")?);
    Ok(Folder { tenant: TenantId(sample::TENANT), session })
}

/// A new job of the owner's; answers its document's name.
async fn new_document(transport: &Transport, cast: &Cast) -> anyhow::Result<String> {
    let mut owner = Client::over(transport.clone(), Credential::access_token(&cast.owner)?);
    let request =
        CreatePrintJobRequest { parent: format!("printers/{}", sample::PRINTER), configuration: String::new() };
    let job = owner.jobs.create_print_job(request).await.context("creating a print job")?;
    Ok(job.into_inner().document)
}
