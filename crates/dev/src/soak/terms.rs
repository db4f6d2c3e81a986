//! How long things last in a run: short, so that rows and files come and go many times within it.

use std::time::Duration;

/// The durations of a run.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How long scenes are begun.
    pub lasts: Duration,
    /// How often everything is measured.
    pub sample_interval: Duration,
    /// How often a scene begins.
    pub scene_interval: Duration,
    /// How long a session lives without a range.
    pub session_idle_timeout: Duration,
    /// How long the program keeps canceled and expired sessions, and deleted jobs.
    pub tombstone_retention: Duration,
    /// How long callers keep a complete document at most.
    pub kept: Duration,
}

/// Until then rows and files may become more: the longest retention, the time until the last pass over the bytes of an
/// ended session (--range-timeout and a minute), the minute between two purges, and the next autovacuum.
pub const SETTLED: Duration = Duration::from_secs(6 * 60);

/// How the names of the tables begin that keep their rows for longer than a run lasts: the audit trail, of which the
/// program keeps 31 days at least.
pub const KEPT_LONGER: &str = "audit";

impl Terms {
    pub fn of(lasts: Duration) -> Self {
        Self {
            lasts,
            sample_interval: Duration::from_secs(10),
            scene_interval: Duration::from_millis(500),
            session_idle_timeout: Duration::from_secs(30),
            tombstone_retention: Duration::from_secs(120),
            kept: Duration::from_secs(60),
        }
    }

    /// Every kind of scene is played within seconds.
    pub fn quick() -> Self {
        Self {
            lasts: Duration::from_secs(15),
            sample_interval: Duration::from_secs(1),
            scene_interval: Duration::from_millis(300),
            session_idle_timeout: Duration::from_secs(4),
            tombstone_retention: Duration::from_secs(20),
            kept: Duration::from_secs(3),
        }
    }

    /// The flags of `serve`. The limits are on, so that they refuse a part of the calls.
    pub fn flags(&self, catalog_client: &str) -> Vec<String> {
        vec![
            format!("--session-idle-timeout={}s", self.session_idle_timeout.as_secs()),
            "--session-lifetime=5m".into(),
            "--range-timeout=20s".into(),
            format!("--tombstone-retention={}s", self.tombstone_retention.as_secs()),
            "--idle-timeout=30s".into(),
            "--connection-age=3m".into(),
            "--connection-grace=30s".into(),
            "--limits=universal-print".into(),
            "--limit-requests=20".into(),
            "--limit-cancels=100".into(),
            format!("--catalog-client={catalog_client}"),
        ]
    }
}
