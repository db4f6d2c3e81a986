//! What each tenant holds, as this replica knows it: counted from time to time, with what was created here since then.
//! The limits of tenants are generous. They may be exceeded by what other replicas create between two counts.
//!
//! No create waits for a count while its tenant is below its limits. A create is only refused by a count: before the
//! first refusal the tenant is counted again, and then at most for a twentieth of the time. A replica counts a tenant
//! once at a time: creates that find its limit almost reached wait for the same count, without a connection.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{Quotas, Reached};
use crate::name::TenantId;

/// How long a count is used, if it took no time.
const COUNT_AFTER: Duration = Duration::from_secs(10);

/// How many times as long as the count itself no other count begins.
const PAUSE: u32 = 20;

/// A count that has not ended by then has failed.
const COUNT_TIMEOUT: Duration = Duration::from_secs(30);

/// How many tenants are known at most. Then all are forgotten, and counted again.
const MAX_TENANTS: usize = 10_000;

/// What a tenant holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Its active sessions.
    pub sessions: u64,
    /// Its stored bytes, with the declared bytes of its active sessions.
    pub bytes: u64,
}

/// What each tenant holds, as this replica knows it.
#[derive(Debug, Default)]
pub struct TenantUsage {
    /// Never locked across an await.
    tenants: Mutex<HashMap<TenantId, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// The last count.
    counted: Held,
    /// What was created here since that count began.
    since: Held,
    /// What was created here until the count in progress began.
    before: Held,
    /// When the count in progress began.
    counting_since: Option<Instant>,
    /// Until when the last count is used without a doubt.
    good_until: Option<Instant>,
    /// Until when no other count begins, also if the last one reached a limit.
    paused_until: Option<Instant>,
}

/// Whether a session may be created.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// It may be created, and the tenant must be counted. The create need not wait for that.
    CountBeside,
    /// The tenant must be counted first.
    CountFirst,
    /// A count is in progress that decides: it must be judged again afterwards.
    WaitForCount,
    Refused(Reached),
}

impl TenantUsage {
    /// Judges a new session. After a verdict to count, [`Self::counted`] or [`Self::not_counted`] must be called.
    pub fn judge(&self, tenant: TenantId, quotas: &Quotas, size_bytes: u64, now: Instant) -> Verdict {
        let mut tenants = self.tenants.lock();
        if tenants.len() >= MAX_TENANTS && !tenants.contains_key(&tenant) {
            tenants.clear();
        }
        let known = tenants.entry(tenant).or_default();
        let is_counting = known.counting_since.is_some_and(|begun| now < begun + COUNT_TIMEOUT);
        let is_before = |time: Option<Instant>| time.is_some_and(|time| now < time);

        if quotas.tenant_reached(known.held(), size_bytes).is_none() {
            if is_counting || is_before(known.good_until) {
                return Verdict::Allowed;
            }
            known.begin_count(now);
            return Verdict::CountBeside;
        }
        match quotas.tenant_reached(known.counted, size_bytes) {
            Some(reached) if is_counting || is_before(known.paused_until) => Verdict::Refused(reached),
            None if is_counting => Verdict::WaitForCount,
            _ => {
                known.begin_count(now);
                Verdict::CountFirst
            }
        }
    }

    /// The tenant was counted.
    pub fn counted(&self, tenant: TenantId, held: Held, now: Instant) {
        let mut tenants = self.tenants.lock();
        let known = tenants.entry(tenant).or_default();
        let took = known.counting_since.take().map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun));
        known.counted = held;
        known.since = known.since.without(known.before);
        known.before = Held::default();
        known.good_until = Some(now + COUNT_AFTER.max(took * PAUSE));
        known.paused_until = Some(now + took * PAUSE);
    }

    /// The tenant could not be counted.
    pub fn not_counted(&self, tenant: TenantId) {
        if let Some(known) = self.tenants.lock().get_mut(&tenant) {
            known.counting_since = None;
        }
    }

    /// A session was created here.
    pub fn created(&self, tenant: TenantId, size_bytes: u64) {
        if let Some(known) = self.tenants.lock().get_mut(&tenant) {
            known.since = known.since.with(Held { sessions: 1, bytes: size_bytes });
        }
    }
}

impl Known {
    /// At most this much, except for what other replicas have created.
    fn held(&self) -> Held {
        self.counted.with(self.since)
    }

    fn begin_count(&mut self, now: Instant) {
        self.counting_since = Some(now);
        self.before = self.since;
    }
}

impl Held {
    fn with(self, other: Self) -> Self {
        Self { sessions: self.sessions.saturating_add(other.sessions), bytes: self.bytes.saturating_add(other.bytes) }
    }

    fn without(self, other: Self) -> Self {
        Self { sessions: self.sessions.saturating_sub(other.sessions), bytes: self.bytes.saturating_sub(other.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const TENANT: TenantId = TenantId(Uuid::nil());
    const QUOTAS: Quotas = Quotas {
        printer_jobs: None,
        user_jobs: None,
        user_jobs_long: None,
        printer_waiting_jobs: None,
        user_waiting_jobs: None,
        user_bytes: None,
        user_bytes_long: None,
        tenant_sessions: Some(3),
        tenant_bytes: None,
    };

    fn held(sessions: u64) -> Held {
        Held { sessions, bytes: sessions }
    }

    #[test]
    fn a_create_waits_for_no_count_before_a_limit_may_be_reached() {
        let (usage, start) = (TenantUsage::default(), Instant::now());
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, start), Verdict::CountBeside);
        usage.created(TENANT, 1);
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, start), Verdict::Allowed, "a count is in progress");
        usage.created(TENANT, 1);
        usage.counted(TENANT, held(0), start);
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, start), Verdict::Allowed, "two were created here");
        usage.created(TENANT, 1);
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, start), Verdict::CountFirst, "three were created here");
        usage.counted(TENANT, held(1), start);
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, start), Verdict::Allowed, "two have ended");
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, start + COUNT_AFTER), Verdict::CountBeside);
    }

    #[test]
    fn only_a_count_refuses_and_it_does_so_for_a_while() {
        let (usage, start) = (TenantUsage::default(), Instant::now());
        usage.counted(TENANT, held(0), start);
        for _ in 0..3 {
            usage.created(TENANT, 1);
        }
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, start), Verdict::CountFirst);
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, start), Verdict::WaitForCount, "no count has refused yet");
        let counted = start + Duration::from_millis(10);
        usage.counted(TENANT, held(3), counted);
        let soon = counted + Duration::from_millis(199);
        assert!(matches!(usage.judge(TENANT, &QUOTAS, 1, soon), Verdict::Refused(_)));
        let later = counted + Duration::from_millis(200);
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, later), Verdict::CountFirst);
        assert!(matches!(usage.judge(TENANT, &QUOTAS, 1, later), Verdict::Refused(_)), "one counts");
        usage.not_counted(TENANT);
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, later), Verdict::CountFirst);
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, later + COUNT_TIMEOUT), Verdict::CountFirst, "it has hung");
    }

    #[test]
    fn what_is_created_during_a_count_is_not_forgotten() {
        let (usage, start) = (TenantUsage::default(), Instant::now());
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, start), Verdict::CountBeside);
        usage.created(TENANT, 1);
        usage.counted(TENANT, held(2), start);
        assert_eq!(usage.judge(TENANT, &QUOTAS, 1, start), Verdict::CountFirst, "2 and perhaps one more");
    }
}
