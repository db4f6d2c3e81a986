//! The probe of a gateway in front of services elsewhere.

use std::time::Duration;

use print_upload_client::Transport;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::Probe;

/// How long a service may take to report its health.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(1);

/// The probe of a gateway.
#[derive(Debug)]
pub struct GatewayProbe {
    upstream: Transport,
    stopping: CancellationToken,
}

impl GatewayProbe {
    /// The gateway is `stopping` as soon as it drains.
    pub fn new(upstream: Transport, stopping: CancellationToken) -> Self {
        Self { upstream, stopping }
    }

    /// Whether a service that calls would reach is healthy: the probe uses the transport of the calls.
    async fn is_served(&self) -> bool {
        let request = HealthCheckRequest { service: String::new() };
        let answer = HealthClient::new(self.upstream.clone()).check(request).await;
        answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
    }
}

impl Probe for GatewayProbe {
    async fn obstacle(&self) -> Option<String> {
        if self.stopping.is_cancelled() {
            return Some("the gateway is stopping".into());
        }
        // Twice: of several services, the first call may reach one that has just stopped.
        for _ in 0..2 {
            if let Ok(true) = timeout(UPSTREAM_TIMEOUT, self.is_served()).await {
                return None;
            }
        }
        Some("no upstream says that it serves".into())
    }

    async fn measure(&self) {}
}
