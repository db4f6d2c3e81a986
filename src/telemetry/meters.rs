//! The metrics: their names, and the recorder that `/metrics` is rendered from. docs/operations.md explains what each
//! of them means and what to do about it.
//!
//! Each label has few values: the methods that are served, the registered routes, the configured issuers.

use std::sync::OnceLock;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::methods;
use crate::quotas::Limit;

/// Calls by `method` and `code`.
pub const RPC_REQUESTS: &str = "print_upload_rpc_requests_total";
/// From a call's headers to the end of its response, by `method`.
pub const RPC_DURATION: &str = "print_upload_rpc_duration_seconds";
/// Bytes of the bodies of calls, by `method`.
pub const RPC_RECEIVED_BYTES: &str = "print_upload_rpc_received_bytes_total";
/// Bytes of the bodies of responses, by `method`.
pub const RPC_SENT_BYTES: &str = "print_upload_rpc_sent_bytes_total";
/// REST requests by `method`, `route` and `status`.
pub const REST_REQUESTS: &str = "print_upload_rest_requests_total";
/// From a REST request's head to the end of its response, by `method` and `route`.
pub const REST_DURATION: &str = "print_upload_rest_duration_seconds";
/// Active sessions, of all replicas.
pub const ACTIVE_SESSIONS: &str = "print_upload_active_sessions";
/// Ranges that are being received on this replica.
pub const WRITERS: &str = "print_upload_writers";
/// Permits that are held on this replica, by `kind`.
pub const TRANSFERS: &str = "print_upload_transfers";
/// Transfers that got no permit, by `kind` and `limit`.
pub const REFUSED_TRANSFERS: &str = "print_upload_refused_transfers_total";
/// Calls that a limit has refused, by `limit`.
pub const LIMITS_REACHED: &str = "print_upload_limits_reached_total";
/// From the start of the deletion until the session has ended and its writers on this replica have been notified.
pub const CANCEL_DURATION: &str = "print_upload_cancel_duration_seconds";
/// Expired sessions that this replica has swept.
pub const EXPIRED_SESSIONS: &str = "print_upload_expired_sessions_total";
/// Jobs that this replica's sweep has ended, by `reason`.
pub const ENDED_JOBS: &str = "print_upload_ended_jobs_total";
/// How many months ahead have a table of the audit trail.
pub const AUDIT_MONTHS_AHEAD: &str = "print_upload_audit_months_ahead";
/// Ended sessions whose bytes are still to be deleted, of all replicas.
pub const RECLAIM_QUEUE: &str = "print_upload_reclaim_queue_sessions";
/// How long ago the oldest of them ended.
pub const RECLAIM_OLDEST_AGE: &str = "print_upload_reclaim_oldest_age_seconds";
/// Passes over an ended session's objects, by `result`.
pub const RECLAIM_PASSES: &str = "print_upload_reclaim_passes_total";
/// Whether the database has answered the scrape.
pub const DATABASE_UP: &str = "print_upload_database_up";
/// Connections to the database, by `state`.
pub const DATABASE_CONNECTIONS: &str = "print_upload_database_connections";
/// The limit of connections to the database.
pub const DATABASE_MAX_CONNECTIONS: &str = "print_upload_database_max_connections";
/// How long a call waits for a connection to the database, or for its batch to begin, by `kind`.
pub const DATABASE_WAIT: &str = "print_upload_database_wait_duration_seconds";
/// What the database did not give in time, by `kind`.
pub const DATABASE_TIMEOUTS: &str = "print_upload_database_timeouts_total";
/// Fetches of the keys of an `issuer`, by `result`.
pub const ISSUER_FETCHES: &str = "print_upload_issuer_fetches_total";
/// The age of the keys of an `issuer`.
pub const ISSUER_KEYS_AGE: &str = "print_upload_issuer_keys_age_seconds";
/// Open connections of clients, on all listeners but the operators' own.
pub const CONNECTIONS: &str = "print_upload_connections";
/// Connections and calls that were refused, by `limit`.
pub const REFUSALS: &str = "print_upload_refusals_total";
/// Tasks of the program's runtime that have not ended.
pub const TASKS: &str = "print_upload_tasks";
/// Log lines that were dropped because too many earlier ones had not been read.
pub const LOG_LINES_DROPPED: &str = "print_upload_log_lines_dropped_total";
/// Always 1; the label `version` is the program's.
pub const BUILD_INFO: &str = "print_upload_build_info";

/// The limits of [`REFUSALS`]: connections in all, those of one address, and calls without a credential.
pub const LIMIT_OF_CONNECTIONS: &str = "connections";
pub const LIMIT_OF_ADDRESS: &str = "connections_of_address";
pub const LIMIT_OF_OPEN_CALLS: &str = "open_calls";

/// The kinds of [`DATABASE_WAIT`] and [`DATABASE_TIMEOUTS`]: a connection, a call's batch, an answer.
pub const KIND_CONNECTION: &str = "connection";
pub const KIND_BATCH: &str = "batch";
pub const KIND_ANSWER: &str = "answer";

/// In seconds. A cancel takes a millisecond, a range as long as its caller takes to send it.
const DURATION_BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0];

/// One per process: several services in one process count together.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts to record metrics. `None` if a program that embeds this one has already installed another recorder.
pub fn record() -> Option<&'static PrometheusHandle> {
    let install = || {
        let buckets = Matcher::Suffix("_duration_seconds".into());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(buckets, &DURATION_BUCKETS).ok()?;
        let handle = builder.install_recorder().ok()?;
        gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        describe_counter!(
            LOG_LINES_DROPPED,
            "Log lines that were lost because too many earlier ones had not been read."
        );
        for limit in [LIMIT_OF_CONNECTIONS, LIMIT_OF_ADDRESS, LIMIT_OF_OPEN_CALLS] {
            counter!(REFUSALS, "limit" => limit).increment(0);
        }
        describe_counter!(REFUSALS, "Connections and calls that were refused, by limit.");
        describe_gauge!(CONNECTIONS, "Open connections of clients, on all listeners but the operators' own.");
        describe_gauge!(TASKS, "Tasks of the program that have not ended: of connections, calls and background work.");
        describe_gauge!(BUILD_INFO, "Always 1; the version of the program.");
        Some(handle)
    };
    RECORDER.get_or_init(install).as_ref()
}

/// The codes that are counted from zero: success, and the service's own failures, which alerts use.
const CODES_FROM_ZERO: [&str; 5] = ["OK", "UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

/// Describes the metrics of a service and sets its counters to zero, so that the first failure is visible as a change.
pub fn init_service() {
    for method in methods::all() {
        for code in CODES_FROM_ZERO {
            counter!(RPC_REQUESTS, "method" => method, "code" => code).increment(0);
        }
        if methods::is_timed(method) {
            drop(histogram!(RPC_DURATION, "method" => method));
        }
        counter!(RPC_RECEIVED_BYTES, "method" => method).increment(0);
        counter!(RPC_SENT_BYTES, "method" => method).increment(0);
    }
    for kind in ["range", "download"] {
        for limit in ["caller", "tenant", "replica"] {
            counter!(REFUSED_TRANSFERS, "kind" => kind, "limit" => limit).increment(0);
        }
    }
    for limit in Limit::ALL {
        counter!(LIMITS_REACHED, "limit" => limit.name()).increment(0);
    }
    for kind in [KIND_CONNECTION, KIND_BATCH] {
        drop(histogram!(DATABASE_WAIT, "kind" => kind));
    }
    for kind in [KIND_CONNECTION, KIND_BATCH, KIND_ANSWER] {
        counter!(DATABASE_TIMEOUTS, "kind" => kind).increment(0);
    }
    drop(histogram!(CANCEL_DURATION));
    counter!(EXPIRED_SESSIONS).increment(0);
    for reason in ["unused", "canceled", "started"] {
        counter!(ENDED_JOBS, "reason" => reason).increment(0);
    }
    counter!(RECLAIM_PASSES, "result" => "done").increment(0);
    counter!(RECLAIM_PASSES, "result" => "failed").increment(0);

    describe_counter!(RPC_REQUESTS, "Calls, by method and canonical gRPC code.");
    describe_histogram!(RPC_DURATION, "From a call's headers to the end of its response.");
    describe_counter!(RPC_RECEIVED_BYTES, "Bytes of the bodies of calls, counted when the call has ended.");
    describe_counter!(RPC_SENT_BYTES, "Bytes of the bodies of responses, counted when the call has ended.");
    describe_gauge!(ACTIVE_SESSIONS, "Active upload sessions, of all replicas; at most 100000 are counted.");
    describe_gauge!(WRITERS, "Ranges that this replica is receiving.");
    describe_gauge!(TRANSFERS, "Permits that are held on this replica, by kind: range or download.");
    describe_counter!(
        REFUSED_TRANSFERS,
        "Transfers that got no permit, by kind and by the limit that was reached: caller, tenant or replica."
    );
    describe_counter!(LIMITS_REACHED, "Calls that a limit has refused, by the limit's name.");
    describe_histogram!(
        CANCEL_DURATION,
        "Of a deletion: until the session has ended and its writers on this replica are notified."
    );
    describe_counter!(EXPIRED_SESSIONS, "Expired sessions that this replica has swept.");
    describe_counter!(
        ENDED_JOBS,
        "Jobs that this replica's sweep has ended, by reason: unused (canceled), canceled or started (deleted)."
    );
    describe_gauge!(AUDIT_MONTHS_AHEAD, "How many months from the next one on have a table of the audit trail.");
    describe_gauge!(RECLAIM_QUEUE, "Ended sessions whose bytes are still to be deleted, of all replicas.");
    describe_gauge!(RECLAIM_OLDEST_AGE, "How long the oldest session of the reclaim queue has been waiting.");
    describe_counter!(RECLAIM_PASSES, "Passes over the objects of an ended session, by result: done or failed.");
    describe_gauge!(DATABASE_UP, "Whether the database has answered this scrape: 1 or 0.");
    describe_gauge!(DATABASE_CONNECTIONS, "Connections to the database, by state: idle or in_use.");
    describe_gauge!(DATABASE_MAX_CONNECTIONS, "How many connections to the database this replica may have.");
    describe_histogram!(
        DATABASE_WAIT,
        "How long calls wait, by kind: for a connection to the database, or for their batch."
    );
    describe_counter!(
        DATABASE_TIMEOUTS,
        "What the database did not give in time, by kind: connection, batch or answer."
    );
    describe_counter!(ISSUER_FETCHES, "Fetches of an issuer's keys, by result: done or failed.");
    describe_gauge!(ISSUER_KEYS_AGE, "How long ago an issuer's keys were confirmed; +Inf when there are none.");
}

/// Describes the metrics of a REST gateway.
pub fn init_rest() {
    describe_counter!(REST_REQUESTS, "REST requests, by method, route and status; none when the caller hung up.");
    describe_histogram!(REST_DURATION, "From a REST request's head to the end of its response.");
}
