//! Scenes in which others call: without permission, too often, the owner of the catalog, and strangers.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use print_upload_client::{
    Reason,
    proto::{self, principal::Identity, print_task},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use uuid::Uuid;

use super::{
    api::{Api, Failed, Job},
    scene::{Scene, refused},
    world::{Replica, World, catalog_of},
};
use crate::sample::APPLICATION;

/// So many jobs of a user may wait for their documents on a printer, with the limits of Universal Print.
const WAITING_JOBS: usize = 4;

/// So many calls are made without a pause, or fewer if a few of them were refused.
const BURST: usize = 100;
const REFUSED_OF_BURST: usize = 3;

impl<A: Api> Scene<A> {
    pub async fn refuse(&self) -> anyhow::Result<()> {
        let job = self.new_job().await?;
        let session = self.create(&job).await?;
        let tenants = &self.world.tenants;
        let foreign = tenants.iter().find(|tenant| tenant.id != self.tenant).context("another tenant")?;
        let own = tenants.iter().find(|tenant| tenant.id == self.tenant).context("the tenant")?;
        let other = own.users.iter().find(|user| user.id != self.user).context("another user")?;
        let cases = [
            (None, Reason::TokenMissing),
            (Some("no.token.atall"), Reason::TokenMalformed),
            (Some(self.world.expired_token.as_str()), Reason::TokenExpired),
            (Some(other.token.as_str()), Reason::NotSessionOwner),
            (Some(foreign.users[0].token.as_str()), Reason::DocumentNotFound),
        ];
        for (token, reason) in cases {
            let stranger = self.calls.with_token(token)?;
            refused(stranger.get(&job.document).await, reason).context("a get")?;
            refused(stranger.delete(&job.document).await, reason).context("a cancel")?;
        }
        let seen = self.calls.get(&job.document).await?;
        ensure!(seen.id == session.id, "the session is still there, but {seen:?}");
        self.calls.delete(&job.document).await?;
        Ok(())
    }

    /// A new user reaches the limit of waiting jobs, and then the rate of calls.
    pub async fn flood(&self) -> anyhow::Result<()> {
        let user = self.world.new_user(self.tenant)?;
        let calls = self.calls.with_token(Some(&user.token))?;
        let mut jobs = Vec::new();
        for _ in 0..WAITING_JOBS + 2 {
            match calls.create_job(&self.printer).await {
                Ok(job) => jobs.push(job),
                Err(failed) if failed.is_limit() => {}
                Err(failed) => return Err(failed.into()),
            }
        }
        jobs.iter().for_each(|job| self.is_to_be_deleted(&job.name));
        ensure!(jobs.len() <= WAITING_JOBS, "{} jobs of a user wait on one printer", jobs.len());
        let Some(job) = jobs.first() else { return Ok(()) };
        let mut limited = 0;
        for _ in 0..BURST {
            match calls.get(&job.document).await {
                Err(failed) if failed.is_limit() => limited += 1,
                returned => refused(returned, Reason::UploadSessionNotFound)?,
            }
            if limited == REFUSED_OF_BURST {
                break;
            }
        }
        Ok(())
    }

    /// Pushes the tenant's catalog again, with a new job for the user.
    pub async fn push(&self) -> anyhow::Result<()> {
        let revision = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let (id, document) = (format!("pushed-{}", Uuid::new_v4().simple()), Uuid::new_v4());
        let name = format!("printers/{}/jobs/{id}", self.printer);
        let pushed = proto::CatalogPrintJob {
            name: format!("tenants/{}/{name}", self.tenant),
            creator: Some(proto::Principal { identity: Some(Identity::User(self.user.clone())) }),
            document: document.to_string(),
            revision: 0,
        };
        let task = proto::PrintTask {
            name: format!("tenants/{}/{name}/tasks/1", self.tenant),
            trigger_application: APPLICATION.into(),
            state: print_task::State::Processing.into(),
            revision: 0,
        };
        let mut catalog = catalog_of(self.tenant, revision);
        catalog.jobs.push(pushed);
        catalog.tasks.push(task);
        self.is_to_be_deleted(&name);
        self.world.catalog.push(&catalog).await?;
        self.upload(&Job { document: format!("{name}/documents/{document}"), name }).await
    }

    pub async fn strangers(&self) -> anyhow::Result<()> {
        let World { strangers, replicas, .. } = &*self.world;
        for _ in replicas {
            let status = strangers.call("health check", async |replica| health(&replicas[replica]).await).await?;
            ensure!(status == ServingStatus::Serving, "a replica reports {status:?}");
            let readiness = async |replica: usize| {
                let page = replicas[replica].operators_page("/readyz").await;
                page.map_err(|error| Failed::Broken(format!("{error:#}")))
            };
            strangers.call("readiness check", readiness).await?;
        }
        for replica in replicas {
            for address in [replica.grpc, replica.rest] {
                for beginning in ["", "GET / HTTP/1.1\r\nHost: x\r\n", "\u{1}\u{2}nonsense\r\n\r\n"] {
                    strangers.count("connection");
                    let mut stream = TcpStream::connect(address).await?;
                    // It may have been closed already.
                    let _ = stream.write_all(beginning.as_bytes()).await;
                }
            }
        }
        Ok(())
    }
}

/// A health check, over a new connection.
async fn health(replica: &Replica) -> Result<ServingStatus, Failed> {
    let transport = replica.connect().map_err(|error| Failed::Broken(format!("{error:#}")))?;
    let status = HealthClient::new(transport).check(HealthCheckRequest::default()).await;
    Ok(status.map_err(|status| Failed::of(&status))?.into_inner().status())
}
