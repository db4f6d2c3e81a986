//! `print-upload healthcheck`: whether a service serves, as an exit status. For containers, which have no other client.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use print_upload_client as client;
use reqwest::Certificate;
use tokio::time::timeout;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::remote::with_scheme;
use crate::config::duration;

/// Where to ask. It succeeds only when the answer is that the service serves.
#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// gRPC service that is asked with grpc.health.v1: host:port, http://host:port or https://host:port. host:port alone is
    /// https where --ca is given.
    #[arg(long, env = "GRPC_ADDR", default_value = "127.0.0.1:50051")]
    server: String,

    /// URL that is asked instead: any status of success will do.
    #[arg(long)]
    url: Option<String>,

    /// Who signs the certificate of an https address, PEM [default: the system's authorities].
    #[arg(long)]
    ca: Option<PathBuf>,

    /// How long the answer may take.
    #[arg(long, default_value = "3s", value_parser = duration)]
    timeout: Duration,
}

impl Healthcheck {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let ca = self.ca.map(|file| fs::read(&file).with_context(|| format!("--ca {}", file.display()))).transpose()?;
        let asked = async {
            match &self.url {
                Some(url) => ask_url(url, ca.as_deref()).await.with_context(|| url.clone()),
                None => ask_service(&self.server, ca.as_deref()).await.with_context(|| self.server.clone()),
            }
        };
        timeout(self.timeout, asked).await.context("no answer in time")?
    }
}

async fn ask_service(server: &str, ca: Option<&[u8]>) -> anyhow::Result<()> {
    let mut health = HealthClient::new(client::connect(&[with_scheme(server, ca.is_some())], ca)?);
    let answer = health.check(HealthCheckRequest::default()).await;
    let status = answer.map_err(|refused| anyhow!("{}", refused.message()))?.into_inner().status();
    ensure!(status == ServingStatus::Serving, "{}", status.as_str_name());
    Ok(())
}

async fn ask_url(url: &str, ca: Option<&[u8]>) -> anyhow::Result<()> {
    let mut http = reqwest::Client::builder().no_proxy();
    if let Some(ca) = ca {
        http = http.tls_certs_only([Certificate::from_pem(ca).context("--ca")?]);
    }
    let status = http.build()?.get(url).send().await?.status();
    ensure!(status.is_success(), "{status}");
    Ok(())
}
