//! The options about limits: what tenants, printers and users may use, and how often callers may call.

use std::{num::NonZeroU32, time::Duration};

use clap::{Args, ValueEnum};

use crate::{
    config::duration,
    quotas::{Quotas, Rolling},
};

/// Fewer cancels in a second are never a limit.
const FEWEST_CANCELS: u32 = 100;

/// A set of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Those that Microsoft publishes for Universal Print.
    UniversalPrint,
}

/// The limits of callers and tenants.
#[derive(Debug, Clone, Args)]
pub struct QuotaOptions {
    /// Limits that are on together; each has an option of its own, which overrides it. `universal-print` are those that
    /// Microsoft publishes: --limit-printer-jobs 100/10m, --limit-user-jobs 200/10m, --limit-user-jobs-long 10000/12d,
    /// --limit-printer-waiting-jobs 50, --limit-user-waiting-jobs 4, --limit-user-bytes 1073741824/15m,
    /// --limit-user-bytes-long 53687091200/10d, and --session-lifetime 1h.
    #[arg(long, env = "LIMITS", value_enum)]
    pub limits: Option<Profile>,

    /// Largest number of jobs that callers create on a printer, in any period of this length: 100/10m. 0 is no limit.
    /// Jobs of the catalog are not counted, neither here nor in the other limits.
    #[arg(
        long,
        env = "LIMIT_PRINTER_JOBS",
        value_parser = rolling,
        default_value_if("limits", "universal-print", "100/10m")
    )]
    pub limit_printer_jobs: Option<Rolling>,

    /// Largest number of jobs that a user creates, in any period of this length. 0 is no limit. Limits of users do not
    /// apply to applications.
    #[arg(
        long,
        env = "LIMIT_USER_JOBS",
        value_parser = rolling,
        default_value_if("limits", "universal-print", "200/10m")
    )]
    pub limit_user_jobs: Option<Rolling>,

    /// The same in a second, longer period. 0 is no limit.
    #[arg(
        long,
        env = "LIMIT_USER_JOBS_LONG",
        value_parser = rolling,
        default_value_if("limits", "universal-print", "10000/12d")
    )]
    pub limit_user_jobs_long: Option<Rolling>,

    /// Largest number of jobs on a printer that wait for their document, at one time. 0 is no limit. A job waits until
    /// its document is uploaded, its upload ends otherwise, or the job is canceled or deleted; and for no longer than
    /// --session-lifetime after its creation.
    #[arg(
        long,
        env = "LIMIT_PRINTER_WAITING_JOBS",
        default_value_t = 0,
        default_value_if("limits", "universal-print", "50")
    )]
    pub limit_printer_waiting_jobs: u64,

    /// Largest number of them that one user has created. 0 is no limit.
    #[arg(
        long,
        env = "LIMIT_USER_WAITING_JOBS",
        default_value_t = 0,
        default_value_if("limits", "universal-print", "4")
    )]
    pub limit_user_waiting_jobs: u64,

    /// Largest number of bytes that a user uploads, in any period of this length. 0 is no limit. The declared size of a
    /// document counts while its upload is active, and for this period after its end if it was completed.
    #[arg(
        long,
        env = "LIMIT_USER_BYTES",
        value_parser = rolling,
        default_value_if("limits", "universal-print", "1073741824/15m")
    )]
    pub limit_user_bytes: Option<Rolling>,

    /// The same in a second, longer period. 0 is no limit.
    #[arg(
        long,
        env = "LIMIT_USER_BYTES_LONG",
        value_parser = rolling,
        default_value_if("limits", "universal-print", "53687091200/10d")
    )]
    pub limit_user_bytes_long: Option<Rolling>,

    /// Largest number of active upload sessions of a tenant. 0 is no limit. A few more may be created at the same time.
    #[arg(long, env = "LIMIT_TENANT_SESSIONS", default_value_t = 1_000_000)]
    pub limit_tenant_sessions: u64,

    /// Largest number of bytes that are stored for a tenant, with the declared sizes of its active uploads. 0 is no
    /// limit. A few more uploads may be created at the same time.
    #[arg(long, env = "LIMIT_TENANT_BYTES", default_value_t = 100 << 40)]
    pub limit_tenant_bytes: u64,

    /// Largest number of calls that one user, application or upload URL makes in a second, to one replica. 0 is no
    /// limit. Cancels are not counted, and neither are the calls that maintain the catalog.
    #[arg(long, env = "LIMIT_REQUESTS", default_value_t = 0)]
    pub limit_requests: u32,

    /// Largest number of cancels (DeleteUploadSession, CancelPrintJob) that one of them makes in a second, to one
    /// replica; at least 100. 0 is no limit.
    #[arg(long, env = "LIMIT_CANCELS", default_value_t = 0, value_parser = cancels)]
    pub limit_cancels: u32,
}

impl QuotaOptions {
    /// The limits of jobs and sessions.
    pub fn quotas(&self) -> Quotas {
        let number = |max: u64| (max > 0).then_some(max);
        let rolling = |limit: Option<Rolling>| limit.filter(|limit| limit.max > 0);
        Quotas {
            printer_jobs: rolling(self.limit_printer_jobs),
            user_jobs: rolling(self.limit_user_jobs),
            user_jobs_long: rolling(self.limit_user_jobs_long),
            printer_waiting_jobs: number(self.limit_printer_waiting_jobs),
            user_waiting_jobs: number(self.limit_user_waiting_jobs),
            user_bytes: rolling(self.limit_user_bytes),
            user_bytes_long: rolling(self.limit_user_bytes_long),
            tenant_sessions: number(self.limit_tenant_sessions),
            tenant_bytes: number(self.limit_tenant_bytes),
        }
    }

    /// How many calls and how many cancels a caller may make in a second.
    pub fn rates(&self) -> [Option<NonZeroU32>; 2] {
        [self.limit_requests, self.limit_cancels].map(NonZeroU32::new)
    }
}

/// Parses `100/10m`: how much in any period of which length. `0` is no limit.
fn rolling(text: &str) -> Result<Rolling, String> {
    if text == "0" {
        return Ok(Rolling { max: 0, window: Duration::ZERO });
    }
    let form = || "must be a number and a period, for example 100/10m, or 0".to_owned();
    let (max, window) = text.split_once('/').ok_or_else(form)?;
    Ok(Rolling { max: max.parse().map_err(|_| form())?, window: duration(window)? })
}

/// Parses a number of cancels that is not too small for a person or a program that stops what it has begun.
fn cancels(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(max) if max == 0 || max >= FEWEST_CANCELS => Ok(max),
        _ => Err(format!("must be 0 or at least {FEWEST_CANCELS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, REQUIRED_FLAGS};

    fn config(flags: &[(&'static str, &'static str)]) -> anyhow::Result<Config> {
        Config::from_flags(REQUIRED_FLAGS.into_iter().chain(flags.iter().copied()))
    }

    const fn minutes(max: u64, minutes: u64) -> Option<Rolling> {
        Some(Rolling { max, window: Duration::from_secs(60 * minutes) })
    }

    #[test]
    fn by_default_only_tenants_have_limits() {
        let config = config(&[]).expect("a configuration");
        let quotas = config.quotas.quotas();
        assert!(!quotas.limits_printer() && !quotas.limits_user_jobs() && !quotas.limits_user_bytes());
        assert!(quotas.tenant_sessions.is_some() && quotas.tenant_bytes.is_some());
        assert_eq!(config.quotas.rates(), [None, None]);
        assert_eq!(config.session_lifetime, Duration::from_secs(24 * 3600));
    }

    #[test]
    fn the_profile_has_the_numbers_that_microsoft_publishes() {
        let config = config(&[("limits", "universal-print")]).expect("a configuration");
        let quotas = config.quotas.quotas();
        assert_eq!([quotas.printer_jobs, quotas.user_jobs], [minutes(100, 10), minutes(200, 10)]);
        assert_eq!(quotas.user_jobs_long, minutes(10_000, 12 * 24 * 60));
        assert_eq!([quotas.printer_waiting_jobs, quotas.user_waiting_jobs], [Some(50), Some(4)]);
        assert_eq!(quotas.user_bytes, minutes(1 << 30, 15));
        assert_eq!(quotas.user_bytes_long, minutes(50 << 30, 10 * 24 * 60));
        assert_eq!((config.max_document_bytes, config.session_lifetime), (1 << 30, Duration::from_secs(3600)));
    }

    #[test]
    fn an_option_overrides_the_profile_and_0_turns_it_off() {
        let flags = [
            ("limits", "universal-print"),
            ("limit-printer-jobs", "0"),
            ("limit-user-jobs", "7/1h"),
            ("limit-user-waiting-jobs", "0"),
            ("limit-tenant-bytes", "0"),
            ("session-lifetime", "2h"),
        ];
        let config = config(&flags).expect("a configuration");
        let quotas = config.quotas.quotas();
        assert_eq!([quotas.printer_jobs, quotas.user_jobs], [None, minutes(7, 60)]);
        assert_eq!((quotas.printer_waiting_jobs, quotas.user_waiting_jobs), (Some(50), None));
        assert_eq!((quotas.tenant_bytes, config.session_lifetime), (None, Duration::from_secs(7200)));
    }

    #[test]
    fn cancels_are_never_limited_to_a_few() {
        assert!(config(&[("limit-cancels", "100")]).is_ok() && config(&[("limit-cancels", "0")]).is_ok());
        for (flag, value) in [("limit-cancels", "99"), ("limit-user-jobs", "7"), ("limit-user-jobs", "x/1h")] {
            assert!(config(&[(flag, value)]).is_err(), "{flag}={value}");
        }
    }
}
