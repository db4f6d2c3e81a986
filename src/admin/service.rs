//! The readiness and the gauges of a service.

use std::{sync::Arc, time::Duration};

use metrics::{counter, gauge};
use tokio::{join, time::timeout};
use tokio_util::sync::CancellationToken;

use super::Probe;
use crate::{
    app_state::AppState,
    guard::Issuers,
    listen::Connections,
    store::{self, Backlog, Schema},
    telemetry::meters,
};

/// How long the database may take, so that a scrape ends even if the database cannot be reached.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Reports whether a service is ready, and measures its gauges.
#[derive(Debug)]
pub struct ServiceProbe {
    app: AppState,
    issuers: Arc<Issuers>,
    connections: Arc<Connections>,
    leaving: CancellationToken,
}

impl ServiceProbe {
    /// `leaving` is canceled when the service was asked to stop.
    pub fn new(
        app: AppState,
        issuers: Arc<Issuers>,
        connections: Arc<Connections>,
        leaving: CancellationToken,
    ) -> Self {
        Self { app, issuers, connections, leaving }
    }

    /// Sets the gauges of the backlog, to NaN if it is unknown: an old value would be taken for a current one.
    fn set_backlog(backlog: Option<Backlog>) {
        let unknown = Backlog { active_sessions: f64::NAN, reclaim_queue: f64::NAN, reclaim_oldest_seconds: f64::NAN };
        let backlog = backlog.unwrap_or(unknown);
        gauge!(meters::ACTIVE_SESSIONS).set(backlog.active_sessions);
        gauge!(meters::RECLAIM_QUEUE).set(backlog.reclaim_queue);
        gauge!(meters::RECLAIM_OLDEST_AGE).set(backlog.reclaim_oldest_seconds);
    }
}

impl Probe for ServiceProbe {
    fn init_metrics(&self) {
        meters::init_service();
        for (issuer, _) in self.issuers.ages_of_keys() {
            for result in ["done", "failed"] {
                counter!(meters::ISSUER_FETCHES, "issuer" => issuer.to_owned(), "result" => result).increment(0);
            }
        }
    }

    /// One issuer with keys is enough: taking a replica out because another issuer is down would help no caller.
    /// Whether the object store can be reached is not checked: calls that cancel or read a session do not need it. But
    /// it must not be another one than the database belongs to.
    async fn not_ready_reason(&self) -> Option<String> {
        if self.leaving.is_cancelled() {
            return Some("the service is stopping".into());
        }
        if self.issuers.ages_of_keys().all(|(_, age)| age.is_none()) {
            return Some("the keys of the token issuers have not been fetched yet".into());
        }
        // Why calls fail, although the probe's own connection may be older than the reason.
        if let Some(unfit) = *self.app.store.fitness().borrow() {
            return Some(unfit.to_string());
        }
        match timeout(DATABASE_TIMEOUT, self.app.store.schema()).await {
            // A newer schema is normal during a rolling update: every migration must keep older programs working.
            Ok(Ok(Schema::Current | Schema::Newer)) => {}
            Ok(Ok(Schema::Older(missing))) => return Some(missing.to_string()),
            Ok(Err(store::Error::Unfit(unfit))) => return Some(unfit.to_string()),
            Ok(Err(_)) => return Some("the database cannot be reached".into()),
            Err(_) => return Some("the database does not answer".into()),
        }
        self.app.blobs.mismatch().borrow().map(|mismatch| mismatch.to_string())
    }

    async fn update_gauges(&self) {
        gauge!(meters::WRITERS).set(self.app.writers.count() as f64);
        gauge!(meters::CONNECTIONS).set(self.connections.count() as f64);
        for permits in [&self.app.range_permits, &self.app.download_permits] {
            gauge!(meters::TRANSFERS, "kind" => permits.kind().as_str()).set(permits.held() as f64);
        }
        let connections = self.app.store.connections();
        gauge!(meters::DATABASE_MAX_CONNECTIONS).set(connections.max);
        gauge!(meters::DATABASE_CONNECTIONS, "state" => "idle").set(connections.idle as f64);
        gauge!(meters::DATABASE_CONNECTIONS, "state" => "in_use").set(connections.in_use as f64);
        for (issuer, age) in self.issuers.ages_of_keys() {
            let age = age.map_or(f64::INFINITY, |age| age.as_secs_f64());
            gauge!(meters::ISSUER_KEYS_AGE, "issuer" => issuer.to_owned()).set(age);
        }
        // The schema is read on a connection of its own. The backlog uses the pool, like calls, and may get no
        // connection although the database is up.
        let store = &self.app.store;
        let (schema, backlog, months) = join!(
            timeout(DATABASE_TIMEOUT, store.schema()),
            timeout(DATABASE_TIMEOUT, store.backlog()),
            timeout(DATABASE_TIMEOUT, store.audit_months_ahead())
        );
        gauge!(meters::DATABASE_UP).set(if matches!(schema, Ok(Ok(_))) { 1.0 } else { 0.0 });
        Self::set_backlog(backlog.ok().and_then(Result::ok));
        gauge!(meters::AUDIT_MONTHS_AHEAD).set(months.ok().and_then(Result::ok).map_or(f64::NAN, f64::from));
    }
}
