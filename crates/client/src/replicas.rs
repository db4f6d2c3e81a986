//! The replicas of a service. Calls are spread over those that report that they serve.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::{mpsc::Sender, watch},
    time::sleep,
};
use tonic::{
    Status,
    transport::{Channel, Endpoint, channel::Change},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// How many changes may wait for the channel. It takes them when a call is made.
const CHANGES: usize = 64;

/// How soon the health of a replica is watched again after it did not respond or did not serve.
const RETRY: Duration = Duration::from_millis(500);

/// How often a replica is pinged, and how long the response may take.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// The replicas that report that they serve, by their index in the configuration.
type Serving = BTreeSet<usize>;

/// A channel over all replicas. All of them are used until one has reported its health. The health is watched as long
/// as the channel exists.
pub(super) fn balance(endpoints: Vec<Endpoint>) -> Channel {
    let (channel, balancer) = Channel::balance_channel(CHANGES);
    tokio::spawn(async move {
        let serving = watch::Sender::new((0..endpoints.len()).collect());
        let replicas = endpoints.iter().enumerate();
        let watched = join_all(replicas.map(|(replica, endpoint)| watch_health(replica, endpoint, &serving)));
        tokio::select! {
            () = balancer.closed() => {}
            () = spread(&endpoints, serving.subscribe(), &balancer) => {}
            _ = watched => {}
        }
    });
    channel
}

/// Watches the health of a replica for ever.
async fn watch_health(replica: usize, endpoint: &Endpoint, serving: &watch::Sender<Serving>) {
    loop {
        if let Err(status) = watch_once(replica, endpoint, serving).await {
            tracing::debug!(error = status.message(), "the health of a replica is not known");
        }
        set_serving(replica, false, serving);
        sleep(RETRY).await;
    }
}

/// Watches the health of a replica (`grpc.health.v1`) until it reports that it does not serve. Then the call must end:
/// a replica that drains waits for it.
async fn watch_once(replica: usize, endpoint: &Endpoint, serving: &watch::Sender<Serving>) -> Result<(), Status> {
    let endpoint = endpoint.clone().http2_keep_alive_interval(KEEPALIVE).keep_alive_timeout(KEEPALIVE);
    let channel = endpoint.connect().await.map_err(|error| Status::from_error(error.into()))?;
    let request = HealthCheckRequest { service: String::new() };
    let mut responses = HealthClient::new(channel).watch(request).await?.into_inner();
    while let Some(response) = responses.message().await? {
        if response.status() != ServingStatus::Serving {
            return Ok(());
        }
        set_serving(replica, true, serving);
    }
    Ok(())
}

/// Does not wait for the channel to take the change.
fn set_serving(replica: usize, serves: bool, serving: &watch::Sender<Serving>) {
    serving.send_if_modified(|serving| if serves { serving.insert(replica) } else { serving.remove(&replica) });
}

/// Makes the channel use the replicas that serve. When none does, it still uses those that served last: without any
/// replica a call would wait for ever, with them it fails at once. Changes that the channel has not taken yet are
/// combined.
async fn spread(
    endpoints: &[Endpoint],
    mut serving: watch::Receiver<Serving>,
    balancer: &Sender<Change<usize, Endpoint>>,
) {
    let mut used = Serving::new();
    loop {
        let wanted = serving.borrow_and_update().clone();
        if !wanted.is_empty() {
            let added = wanted.difference(&used).map(|&added| Change::Insert(added, endpoints[added].clone()));
            let removed = used.difference(&wanted).map(|&removed| Change::Remove(removed));
            for change in added.chain(removed) {
                if balancer.send(change).await.is_err() {
                    return;
                }
            }
            used = wanted;
        }
        if serving.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::{Stream, StreamExt, stream};
    use tokio::{net::TcpListener, sync::mpsc, task::yield_now, time::timeout};
    use tonic::{
        Request, Response,
        transport::{Server, server::TcpIncoming},
    };
    use tonic_health::pb::{
        HealthCheckResponse,
        health_server::{Health, HealthServer},
    };

    use super::*;

    /// A replica that serves. Each caller that watches its health has one of these receivers.
    struct Replica(watch::Sender<()>);

    type Answer = Result<HealthCheckResponse, Status>;

    #[tonic::async_trait]
    impl Health for Replica {
        type WatchStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

        async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
            Err(Status::unimplemented("not called"))
        }

        async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
            let listener = self.0.subscribe();
            let serves = HealthCheckResponse { status: ServingStatus::Serving.into() };
            let answers = stream::iter([Ok(serves)]).chain(stream::pending()).map(move |answer| {
                let _kept = &listener;
                answer
            });
            Ok(Response::new(Box::pin(answers)))
        }
    }

    #[tokio::test]
    async fn no_health_is_watched_once_the_last_client_is_dropped() {
        let listeners = watch::Sender::new(());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let replica = HealthServer::new(Replica(listeners.clone()));
        tokio::spawn(Server::builder().add_service(replica).serve_with_incoming(TcpIncoming::from(listener)));
        let endpoint = Endpoint::from_shared(address).expect("an endpoint");

        let channel = balance(vec![endpoint.clone(), endpoint]);
        while listeners.receiver_count() < 2 {
            yield_now().await;
        }
        drop(channel);
        timeout(Duration::from_secs(60), listeners.closed()).await.expect("nothing is watched any more");
    }

    #[tokio::test]
    async fn changes_that_are_not_taken_block_nothing_and_are_combined() {
        let endpoints = [Endpoint::from_static("http://127.0.0.1:1"), Endpoint::from_static("http://127.0.0.1:2")];
        let (serving, (balancer, mut changes)) = (watch::Sender::new((0..2).collect()), mpsc::channel(1));
        let seen = serving.subscribe();
        let spreading = tokio::spawn(async move { spread(&endpoints, seen, &balancer).await });
        for replica in [0, 1] {
            for serves in [true, false].repeat(100) {
                set_serving(replica, serves, &serving);
                yield_now().await;
            }
        }
        set_serving(1, true, &serving);
        drop(serving);

        let (mut used, mut taken) = (Serving::new(), 0);
        while let Some(change) = changes.recv().await {
            taken += 1;
            match change {
                Change::Insert(added, _) => assert!(used.insert(added)),
                Change::Remove(removed) => assert!(used.remove(&removed)),
            };
        }
        assert_eq!(used, Serving::from([1]));
        assert!(taken < 10, "many became one: {taken}");
        spreading.await.expect("no panic");
    }
}
