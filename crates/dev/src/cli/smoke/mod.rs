//! `print-upload-dev smoke`: checks a running service from outside, over gRPC and over REST. It prints one line for
//! each check, and fails at the first check that does not hold.

mod replicas;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use print_upload::{blobs::Blobs, cli::ServiceAddress};
use tokio::time::timeout;

use super::{
    default_data_dir,
    story::{self, Callers, Grpc, Rest},
};
use crate::issuer::TokenIssuer;

/// How long all checks may take.
const SMOKE_TIMEOUT: Duration = Duration::from_secs(300);

/// Which service to check. It must have the sample catalog, and trust the token issuer.
#[derive(Debug, Args)]
pub(super) struct Smoke {
    /// Where gRPC is served.
    #[command(flatten)]
    service: ServiceAddress,

    /// Base URL of the REST gateway. Upload URLs are called there as well, whatever host they name.
    #[arg(long, env = "REST_URL", default_value = "http://127.0.0.1:8080")]
    rest_url: String,

    /// Folder of `up` or of `issuer`, which holds the issuer's keys [default: as for `up`].
    #[arg(long)]
    data_dir: Option<PathBuf>,

    /// Object store of the service, as for `serve`. Without this option, smoke does not check that the bytes of a
    /// canceled upload are deleted.
    #[arg(long, env = "STORE")]
    store: Option<String>,

    /// File with the store's settings, as for `serve`.
    #[arg(long, env = "STORE_SETTINGS", requires = "store")]
    store_settings: Option<PathBuf>,
}

impl Smoke {
    /// Runs all checks.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let limit = humantime::format_duration(SMOKE_TIMEOUT);
        timeout(SMOKE_TIMEOUT, self.check()).await.with_context(|| format!("not finished after {limit}"))?
    }

    async fn check(self) -> anyhow::Result<()> {
        let data_dir = self.data_dir.map_or_else(default_data_dir, Ok)?;
        let callers = Callers::new(&TokenIssuer::of_folder(&data_dir)?)?;
        let transport = self.service.connect()?;
        let open = |url: &String| Blobs::open(url, self.store_settings.as_deref(), &std::env::temp_dir());
        let store = self.store.as_ref().map(open).transpose().context("--store")?;
        let store = store.as_ref();

        let new_document = || callers.owner.new_document(&transport);
        let grpc = Grpc { transport: transport.clone(), is_narrated: false };
        let mut held = story::run(&grpc, &new_document().await?, &callers, store).await?;
        let rest = Rest::new(&self.rest_url)?;
        held += story::run(&rest, &new_document().await?, &callers, store).await?;
        held += replicas::check(&grpc, &new_document().await?, &callers.owner, store).await?;

        if store.is_none() {
            println!("--  whether the object store holds anything of a canceled upload was not checked: no --store");
        }
        println!("all {held} checks held");
        Ok(())
    }
}
