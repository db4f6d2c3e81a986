//! `print-upload healthcheck`: whether a service serves, as an exit code. For containers, which have no other client.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use print_upload_client as client;
use reqwest::Certificate;
use tokio::time::timeout;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::remote::with_scheme;
use crate::config::duration;

/// Which service to check, and how.
#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// Address of the gRPC service, which is asked with grpc.health.v1: host:port, http://host:port or
    /// https://host:port. Without a scheme it is https when --ca is given, else http.
    #[arg(long, env = "GRPC_ADDR", default_value = "127.0.0.1:50051")]
    server: String,

    /// URL to get instead, for example that of /readyz. Succeeds with any status 2xx.
    #[arg(long)]
    url: Option<String>,

    /// Authority that signs the certificate of an https address, PEM [default: the system's authorities].
    #[arg(long)]
    ca: Option<PathBuf>,

    /// How long the check may take.
    #[arg(long, default_value = "3s", value_parser = duration)]
    timeout: Duration,
}

impl Healthcheck {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let ca = self.ca.map(|file| fs::read(&file).with_context(|| format!("--ca {}", file.display()))).transpose()?;
        let check = async {
            match &self.url {
                Some(url) => ask_url(url, ca.as_deref()).await.with_context(|| url.clone()),
                None => ask_service(&self.server, ca.as_deref()).await.with_context(|| self.server.clone()),
            }
        };
        timeout(self.timeout, check).await.context("no answer in time")?
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
