//! The readiness of a gateway in front of services elsewhere.

use std::{sync::Arc, time::Duration};

use metrics::gauge;
use print_upload_client::Transport;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::Probe;
use crate::{listen::Connections, telemetry::meters};

/// How long a service may take to report its health.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(1);

/// Reports whether a gateway is ready.
#[derive(Debug)]
pub struct GatewayProbe {
    upstream: Transport,
    connections: Arc<Connections>,
    leaving: CancellationToken,
}

impl GatewayProbe {
    /// `leaving` is canceled when the gateway was asked to stop.
    pub fn new(upstream: Transport, connections: Arc<Connections>, leaving: CancellationToken) -> Self {
        Self { upstream, connections, leaving }
    }

    /// Whether an upstream is healthy. The check uses the same transport as calls.
    async fn is_upstream_serving(&self) -> bool {
        let request = HealthCheckRequest { service: String::new() };
        let answer = HealthClient::new(self.upstream.clone()).check(request).await;
        answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
    }
}

impl Probe for GatewayProbe {
    async fn not_ready_reason(&self) -> Option<String> {
        if self.leaving.is_cancelled() {
            return Some("the gateway is stopping".into());
        }
        // Two attempts: with several upstreams, the first one may reach a service that has just stopped.
        for _ in 0..2 {
            if let Ok(true) = timeout(UPSTREAM_TIMEOUT, self.is_upstream_serving()).await {
                return None;
            }
        }
        Some("no upstream reports that it serves".into())
    }

    async fn update_gauges(&self) {
        gauge!(meters::CONNECTIONS).set(self.connections.count() as f64);
    }
}
