//! The limits of what callers and tenants may use, and when one is reached. No I/O and no clock.

mod tenant_usage;

use std::{fmt, time::Duration};

use crate::session::Principal;

pub use tenant_usage::{Held, TenantUsage, Verdict};

/// The longest time that a refused caller is asked to wait.
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// How long a refused caller is asked to wait, if nobody knows when something will be freed.
const USUAL_RETRY: Duration = Duration::from_secs(10);

/// A limit of a rolling window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rolling {
    pub max: u64,
    pub window: Duration,
}

/// The limits of jobs and sessions. `None` is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quotas {
    /// Jobs that are created on a printer.
    pub printer_jobs: Option<Rolling>,
    /// Jobs that a user creates.
    pub user_jobs: Option<Rolling>,
    /// The same in a longer window.
    pub user_jobs_long: Option<Rolling>,
    /// Jobs on a printer that wait for their document.
    pub printer_waiting_jobs: Option<u64>,
    /// Jobs of a user on a printer that wait for their document.
    pub user_waiting_jobs: Option<u64>,
    /// Bytes that a user uploads.
    pub user_bytes: Option<Rolling>,
    /// The same in a longer window.
    pub user_bytes_long: Option<Rolling>,
    /// Active sessions of a tenant.
    pub tenant_sessions: Option<u64>,
    /// Bytes that are stored for a tenant, with the declared bytes of its active sessions.
    pub tenant_bytes: Option<u64>,
}

/// The name of a limit: its option without `--limit-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    PrinterJobs,
    UserJobs,
    UserJobsLong,
    PrinterWaitingJobs,
    UserWaitingJobs,
    UserBytes,
    UserBytesLong,
    TenantSessions,
    TenantBytes,
    /// Calls of a caller in a second.
    Requests,
    /// Cancels of a caller in a second.
    Cancels,
}

/// How much of a limit is used, and how much more a call would use.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    pub limit: Limit,
    pub max: u64,
    /// `None` for what is held at one time.
    pub window: Option<Duration>,
    pub used: u64,
    pub wanted: u64,
    /// When the oldest of what is used leaves the window, if that is known.
    pub frees_in: Option<Duration>,
}

/// A limit that a call would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    pub limit: Limit,
    pub max: u64,
    /// `None` for what is held at one time.
    pub window: Option<Duration>,
    /// How long to wait before a retry. `None` if the call alone wants more than the limit.
    pub retry_after: Option<Duration>,
}

impl Quotas {
    /// The longest window of a limit: rows that are younger must not go.
    pub fn longest_window(&self) -> Duration {
        let rolling = [self.printer_jobs, self.user_jobs, self.user_jobs_long, self.user_bytes, self.user_bytes_long];
        rolling.into_iter().flatten().map(|limit| limit.window).max().unwrap_or_default()
    }

    /// The limits of what this caller creates. Those of users do not apply to an application: it sends the documents of
    /// many users.
    pub fn of(self, caller: &Principal) -> Self {
        match caller {
            Principal::User(_) => self,
            Principal::Application(_) => Self {
                user_jobs: None,
                user_jobs_long: None,
                user_waiting_jobs: None,
                user_bytes: None,
                user_bytes_long: None,
                ..self
            },
        }
    }

    /// Whether jobs that wait for their document are limited.
    pub fn limits_waiting_jobs(&self) -> bool {
        self.printer_waiting_jobs.is_some() || self.user_waiting_jobs.is_some()
    }

    /// Whether a job's printer is counted for, when the job is created.
    pub fn limits_printer(&self) -> bool {
        self.printer_jobs.is_some() || self.limits_waiting_jobs()
    }

    /// Whether the jobs of a user are limited, over time.
    pub fn limits_user_jobs(&self) -> bool {
        self.user_jobs.is_some() || self.user_jobs_long.is_some()
    }

    /// Whether the bytes of a user are limited.
    pub fn limits_user_bytes(&self) -> bool {
        self.user_bytes.is_some() || self.user_bytes_long.is_some()
    }

    /// Whether what tenants hold is limited.
    pub fn limits_tenant(&self) -> bool {
        self.tenant_sessions.is_some() || self.tenant_bytes.is_some()
    }

    /// The limit of its tenant that a new session of this size would exceed.
    pub fn tenant_reached(&self, held: Held, size_bytes: u64) -> Option<Reached> {
        let sessions = self.tenant_sessions.map(|max| Use::held(Limit::TenantSessions, max, held.sessions, 1));
        let bytes = self.tenant_bytes.map(|max| Use::held(Limit::TenantBytes, max, held.bytes, size_bytes));
        first_reached([sessions, bytes])
    }
}

/// The first of the limits that is reached.
pub fn first_reached(uses: impl IntoIterator<Item = Option<Use>>) -> Option<Reached> {
    uses.into_iter().flatten().find_map(Use::reached)
}

impl Use {
    /// Of what is held at one time.
    pub fn held(limit: Limit, max: u64, used: u64, wanted: u64) -> Self {
        Self { limit, max, window: None, used, wanted, frees_in: None }
    }

    /// Of a rolling window.
    pub fn rolling(limit: Limit, rolling: Rolling, used: u64, wanted: u64, frees_in: Option<Duration>) -> Self {
        Self { limit, max: rolling.max, window: Some(rolling.window), used, wanted, frees_in }
    }

    fn reached(self) -> Option<Reached> {
        if self.used.saturating_add(self.wanted) <= self.max {
            return None;
        }
        let retry_after = retry_after(self.frees_in.unwrap_or(USUAL_RETRY));
        let retry_after = (self.wanted <= self.max).then_some(retry_after);
        Some(Reached { limit: self.limit, max: self.max, window: self.window, retry_after })
    }
}

/// The wait that a refused caller is asked for: whole seconds, from one to 300.
pub fn retry_after(wait: Duration) -> Duration {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Duration::from_secs(seconds.max(1)).min(LONGEST_RETRY)
}

impl Limit {
    pub const ALL: [Self; 11] = [
        Self::PrinterJobs,
        Self::UserJobs,
        Self::UserJobsLong,
        Self::PrinterWaitingJobs,
        Self::UserWaitingJobs,
        Self::UserBytes,
        Self::UserBytesLong,
        Self::TenantSessions,
        Self::TenantBytes,
        Self::Requests,
        Self::Cancels,
    ];

    /// The name in errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::PrinterJobs => "printer-jobs",
            Self::UserJobs => "user-jobs",
            Self::UserJobsLong => "user-jobs-long",
            Self::PrinterWaitingJobs => "printer-waiting-jobs",
            Self::UserWaitingJobs => "user-waiting-jobs",
            Self::UserBytes => "user-bytes",
            Self::UserBytesLong => "user-bytes-long",
            Self::TenantSessions => "tenant-sessions",
            Self::TenantBytes => "tenant-bytes",
            Self::Requests => "requests",
            Self::Cancels => "cancels",
        }
    }

    /// Whether it limits the calls themselves, whatever they do.
    pub fn is_rate_of_calls(self) -> bool {
        matches!(self, Self::Requests | Self::Cancels)
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the limit {} is reached: at most {}", self.limit.name(), self.max)?;
        match self.window {
            Some(window) => write!(f, " in {} s", window.as_secs()),
            None => write!(f, " at once"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn jobs(used: u64, frees_in: Option<Duration>) -> Option<Reached> {
        let rolling = Rolling { max: 100, window: 10 * MINUTE };
        first_reached([None, Some(Use::rolling(Limit::PrinterJobs, rolling, used, 1, frees_in))])
    }

    #[test]
    fn the_next_after_the_last_is_refused_until_the_oldest_leaves_the_window() {
        assert_eq!(jobs(99, Some(MINUTE)), None);
        let reached = jobs(100, Some(MINUTE + Duration::from_millis(1))).expect("reached");
        assert_eq!(reached.retry_after, Some(Duration::from_secs(61)));
        assert_eq!(reached.to_string(), "the limit printer-jobs is reached: at most 100 in 600 s");
    }

    #[test]
    fn a_caller_is_asked_to_wait_from_one_second_to_five_minutes() {
        let wait = |frees_in| jobs(100, frees_in).and_then(|reached| reached.retry_after).map(|wait| wait.as_secs());
        assert_eq!(wait(Some(Duration::ZERO)), Some(1));
        assert_eq!(wait(Some(9 * MINUTE)), Some(300));
        assert_eq!(wait(None), Some(10));
    }

    #[test]
    fn what_is_more_than_the_limit_alone_is_not_worth_a_retry() {
        let quotas = Quotas { tenant_bytes: Some(1000), ..Quotas::default() };
        let used = Held { sessions: 7, bytes: 400 };
        assert_eq!(quotas.tenant_reached(used, 600), None);
        let full = quotas.tenant_reached(used, 601).expect("reached");
        assert_eq!((full.limit, full.retry_after), (Limit::TenantBytes, Some(USUAL_RETRY)));
        assert_eq!(quotas.tenant_reached(used, 1001).expect("reached").retry_after, None);
    }

    #[test]
    fn limits_of_users_are_not_those_of_applications() {
        let rolling = Some(Rolling { max: 1, window: MINUTE });
        let quotas = Quotas { user_jobs: rolling, user_bytes: rolling, printer_jobs: rolling, ..Quotas::default() };
        let user = quotas.of(&Principal::User("ada".into()));
        assert!(user.limits_user_jobs() && user.limits_user_bytes() && user.limits_printer());
        let application = quotas.of(&Principal::Application("robot".into()));
        assert!(!application.limits_user_jobs() && !application.limits_user_bytes() && application.limits_printer());
    }
}
