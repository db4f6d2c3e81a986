//! How the service is.

use std::{sync::Arc, time::Duration};

use metrics::gauge;
use tokio::{join, time::timeout};
use tokio_util::sync::CancellationToken;

use super::Probe;
use crate::{
    guard::Issuers,
    services::Services,
    store::{Backlog, Schema},
    telemetry::meters,
};

/// How long the database may take: a scrape is to come to its end while it is gone.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks a service.
#[derive(Debug)]
pub struct ServiceProbe {
    services: Services,
    issuers: Arc<Issuers>,
    stopping: CancellationToken,
}

impl ServiceProbe {
    /// Of a service that is `stopping` once it drains.
    pub fn new(services: Services, issuers: Arc<Issuers>, stopping: CancellationToken) -> Self {
        Self { services, issuers, stopping }
    }

    /// What only the database knows is left out when it does not tell: an old number would pass for a new one.
    fn show(backlog: Option<Backlog>) {
        let unknown = Backlog { active_sessions: f64::NAN, reclaim_queue: f64::NAN, reclaim_oldest_seconds: f64::NAN };
        let backlog = backlog.unwrap_or(unknown);
        gauge!(meters::ACTIVE_SESSIONS).set(backlog.active_sessions);
        gauge!(meters::RECLAIM_QUEUE).set(backlog.reclaim_queue);
        gauge!(meters::RECLAIM_OLDEST_AGE).set(backlog.reclaim_oldest_seconds);
    }
}

impl Probe for ServiceProbe {
    fn begin(&self) {
        meters::begin_service();
    }

    /// One issuer with keys is enough: a replica that is taken out because another issuer is down helps nobody. The same
    /// holds for the object store, which cancels and looks do without.
    async fn obstacle(&self) -> Option<String> {
        if self.stopping.is_cancelled() {
            return Some("the service is stopping".into());
        }
        if self.issuers.ages_of_keys().all(|(_, age)| age.is_none()) {
            return Some("the keys of the token issuers are not there yet".into());
        }
        match timeout(DATABASE_TIMEOUT, self.services.store.schema()).await {
            // A newer one is that of a rolling update: this program still works with it, or the migration is wrong.
            Ok(Ok(Schema::Current | Schema::Newer)) => None,
            Ok(Ok(Schema::Older)) => Some("the database does not have this program's schema".into()),
            Ok(Err(_)) => Some("the database cannot be reached".into()),
            Err(_) => Some("the database does not answer".into()),
        }
    }

    async fn measure(&self) {
        gauge!(meters::WRITERS).set(self.services.writers.count() as f64);
        let connections = self.services.store.connections();
        gauge!(meters::DATABASE_MAX_CONNECTIONS).set(connections.max);
        gauge!(meters::DATABASE_CONNECTIONS, "state" => "idle").set(connections.idle as f64);
        gauge!(meters::DATABASE_CONNECTIONS, "state" => "in_use").set(connections.in_use as f64);
        for (issuer, age) in self.issuers.ages_of_keys() {
            let age = age.map_or(f64::INFINITY, |age| age.as_secs_f64());
            gauge!(meters::ISSUER_KEYS_AGE, "issuer" => issuer.to_owned()).set(age);
        }
        // The backlog waits for a connection as calls do, and may wait in vain where the database is well.
        let store = &self.services.store;
        let (schema, backlog) =
            join!(timeout(DATABASE_TIMEOUT, store.schema()), timeout(DATABASE_TIMEOUT, store.backlog()));
        gauge!(meters::DATABASE_UP).set(if matches!(schema, Ok(Ok(_))) { 1.0 } else { 0.0 });
        Self::show(backlog.ok().and_then(Result::ok));
    }
}
