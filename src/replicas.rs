//! The replicas of a service: calls are spread over those that say that they serve.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc::Sender},
    time::sleep,
};
use tonic::{
    Status,
    transport::{Channel, Endpoint, channel::Change},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// How many changes may wait to be taken up.
const CHANGES: usize = 64;

/// How soon a replica is asked again that did not answer, or does not serve.
const RETRY: Duration = Duration::from_millis(500);

/// How often a replica is asked whether it is still there, and how long it may take to answer.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Every replica, by its place in the configuration.
struct Replicas {
    endpoints: Vec<Endpoint>,
    balancer: Sender<Change<usize, Endpoint>>,
    known: Mutex<Known>,
}

struct Known {
    /// Those that say that they serve.
    serving: BTreeSet<usize>,
    /// Those that calls are spread over.
    used: BTreeSet<usize>,
}

/// A channel over all of them. Until one is heard of, every one is used.
pub fn balance(endpoints: Vec<Endpoint>) -> Channel {
    let (channel, balancer) = Channel::balance_channel(CHANGES);
    let known = Mutex::new(Known { serving: (0..endpoints.len()).collect(), used: BTreeSet::new() });
    let replicas = Arc::new(Replicas { endpoints, balancer, known });
    for replica in 0..replicas.endpoints.len() {
        let replicas = Arc::clone(&replicas);
        tokio::spawn(async move {
            replicas.heard_of(replica, true).await;
            loop {
                if let Err(status) = replicas.follow(replica).await {
                    tracing::debug!(error = status.message(), "a replica does not tell how it is");
                }
                replicas.heard_of(replica, false).await;
                sleep(RETRY).await;
            }
        });
    }
    channel
}

impl Replicas {
    /// Follows what a replica says of itself (`grpc.health.v1`), until it stops or says that it does not serve. Not any
    /// longer: it would wait for us when it drains.
    async fn follow(&self, replica: usize) -> Result<(), Status> {
        let endpoint =
            self.endpoints[replica].clone().http2_keep_alive_interval(KEEPALIVE).keep_alive_timeout(KEEPALIVE);
        let channel = endpoint.connect().await.map_err(|error| Status::from_error(error.into()))?;
        let request = HealthCheckRequest { service: String::new() };
        let mut answers = HealthClient::new(channel).watch(request).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            if answer.status() != ServingStatus::Serving {
                return Ok(());
            }
            self.heard_of(replica, true).await;
        }
        Ok(())
    }

    /// Uses those that serve. When none does, those that did last stay: a call over them fails at once, where it would
    /// wait for ever without any.
    async fn heard_of(&self, replica: usize, serves: bool) {
        let mut known = self.known.lock().await;
        if serves {
            known.serving.insert(replica)
        } else {
            known.serving.remove(&replica)
        };
        if known.serving.is_empty() {
            return;
        }
        for &added in known.serving.difference(&known.used) {
            let endpoint = self.endpoints[added].clone();
            drop(self.balancer.send(Change::Insert(added, endpoint)).await);
        }
        for &removed in known.used.difference(&known.serving) {
            drop(self.balancer.send(Change::Remove(removed)).await);
        }
        known.used = known.serving.clone();
    }
}
