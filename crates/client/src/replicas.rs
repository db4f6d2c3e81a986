//! The replicas of a service: calls are spread over those that say that they serve.

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

/// How many changes may wait to be taken up. They are when somebody calls.
const CHANGES: usize = 64;

/// How soon a replica is asked again that did not answer, or does not serve.
const RETRY: Duration = Duration::from_millis(500);

/// How often a replica is asked whether it is still there, and how long it may take to answer.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Those that say that they serve, by their places in the configuration.
type Serving = BTreeSet<usize>;

/// A channel over all of them. Until one is heard of, every one is used. They are listened to as long as somebody has the
/// channel.
pub(super) fn balance(endpoints: Vec<Endpoint>) -> Channel {
    let (channel, balancer) = Channel::balance_channel(CHANGES);
    tokio::spawn(async move {
        let serving = watch::Sender::new((0..endpoints.len()).collect());
        let replicas = endpoints.iter().enumerate();
        let followed = join_all(replicas.map(|(replica, endpoint)| follow(replica, endpoint, &serving)));
        tokio::select! {
            () = balancer.closed() => {}
            () = spread(&endpoints, serving.subscribe(), &balancer) => {}
            _ = followed => {}
        }
    });
    channel
}

/// Asks a replica how it is, again and again.
async fn follow(replica: usize, endpoint: &Endpoint, serving: &watch::Sender<Serving>) {
    loop {
        if let Err(status) = listen(replica, endpoint, serving).await {
            tracing::debug!(error = status.message(), "a replica does not tell how it is");
        }
        heard_of(replica, false, serving);
        sleep(RETRY).await;
    }
}

/// Listens to what a replica says of itself (`grpc.health.v1`), until it stops or says that it does not serve. Not any
/// longer: it would wait for us when it drains.
async fn listen(replica: usize, endpoint: &Endpoint, serving: &watch::Sender<Serving>) -> Result<(), Status> {
    let endpoint = endpoint.clone().http2_keep_alive_interval(KEEPALIVE).keep_alive_timeout(KEEPALIVE);
    let channel = endpoint.connect().await.map_err(|error| Status::from_error(error.into()))?;
    let request = HealthCheckRequest { service: String::new() };
    let mut answers = HealthClient::new(channel).watch(request).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        if answer.status() != ServingStatus::Serving {
            return Ok(());
        }
        heard_of(replica, true, serving);
    }
    Ok(())
}

/// Waits for nobody: while no change is taken up, the replicas are listened to all the same.
fn heard_of(replica: usize, serves: bool, serving: &watch::Sender<Serving>) {
    serving.send_if_modified(|serving| if serves { serving.insert(replica) } else { serving.remove(&replica) });
}

/// Uses those that serve. When none does, those that did last stay: a call over them fails at once, where it would wait for
/// ever without any. Changes that cannot be taken up yet become one.
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

    /// A replica that serves, and knows how many listen to it: each has one of these receivers.
    struct Replica(watch::Sender<()>);

    type Answer = Result<HealthCheckResponse, Status>;

    #[tonic::async_trait]
    impl Health for Replica {
        type WatchStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

        async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
            Err(Status::unimplemented("nobody asks"))
        }

        async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
            let listener = self.0.subscribe();
            let serves = HealthCheckResponse { status: ServingStatus::Serving.into() };
            let answers = stream::iter([Ok(serves)]).chain(stream::pending()).map(move |answer| {
                let _as_long_as_it_listens = &listener;
                answer
            });
            Ok(Response::new(Box::pin(answers)))
        }
    }

    #[tokio::test]
    async fn nobody_is_listened_to_once_the_last_client_is_gone() {
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
        timeout(Duration::from_secs(60), listeners.closed()).await.expect("nobody listens any more");
    }

    #[tokio::test]
    async fn what_is_not_taken_up_keeps_nobody_waiting_and_comes_out_right() {
        let endpoints = [Endpoint::from_static("http://127.0.0.1:1"), Endpoint::from_static("http://127.0.0.1:2")];
        let (serving, (balancer, mut changes)) = (watch::Sender::new((0..2).collect()), mpsc::channel(1));
        let seen = serving.subscribe();
        let spreading = tokio::spawn(async move { spread(&endpoints, seen, &balancer).await });
        for replica in [0, 1] {
            for serves in [true, false].repeat(100) {
                heard_of(replica, serves, &serving);
                yield_now().await;
            }
        }
        heard_of(1, true, &serving);
        drop(serving);

        let (mut used, mut taken_up) = (Serving::new(), 0);
        while let Some(change) = changes.recv().await {
            taken_up += 1;
            match change {
                Change::Insert(added, _) => assert!(used.insert(added)),
                Change::Remove(removed) => assert!(used.remove(&removed)),
            };
        }
        assert_eq!(used, Serving::from([1]));
        assert!(taken_up < 10, "many became one: {taken_up}");
        spreading.await.expect("no panic");
    }
}
