//! The options about what goes by itself, and when.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;

use crate::{config::duration, quotas::Quotas, store::Retention};

const HOUR: Duration = Duration::from_secs(60 * 60);
const MONTH: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// How long jobs that were created here are kept, and the audit trail. What the catalog has pushed is the catalog's to
/// delete.
#[derive(Debug, Clone, Args)]
pub struct RetentionOptions {
    /// How long a job that was created here may be without an upload. Then it is canceled. An upload that has ended
    /// counts for as long as it is remembered (--tombstone-retention). At least 1h.
    #[arg(long, env = "UNUSED_JOB_TIMEOUT", default_value = "3d", value_parser = an_hour_at_least)]
    pub unused_job_timeout: Duration,

    /// How long a canceled job that was created here is kept. Then it is deleted with its document. At least 1h, and no
    /// shorter than the periods of the limits that count jobs and bytes.
    #[arg(long, env = "CANCELED_JOB_RETENTION", default_value = "30d", value_parser = an_hour_at_least)]
    pub canceled_job_retention: Duration,

    /// How long a started job that was created here is kept. Then it is deleted with its document. Without this option
    /// started jobs stay. The same bounds.
    #[arg(long, env = "STARTED_JOB_RETENTION", value_parser = an_hour_at_least)]
    pub started_job_retention: Option<Duration>,

    /// How long the audit trail is kept, and up to a month more: a whole month goes at once. At least 31d.
    #[arg(long, env = "AUDIT_RETENTION", default_value = "400d", value_parser = a_month_at_least)]
    pub audit_retention: Duration,
}

impl RetentionOptions {
    /// How long what was created here is kept.
    pub fn retention(&self) -> Retention {
        Retention {
            unused_job: self.unused_job_timeout,
            canceled_job: self.canceled_job_retention,
            started_job: self.started_job_retention,
            audit: self.audit_retention,
        }
    }

    /// Fails if rows would go that a limit still counts.
    pub fn check(&self, quotas: &Quotas) -> anyhow::Result<()> {
        let longest = quotas.longest_window();
        let retentions = [
            ("--canceled-job-retention", Some(self.canceled_job_retention)),
            ("--started-job-retention", self.started_job_retention),
        ];
        for (option, retention) in retentions {
            ensure!(
                retention.is_none_or(|retention| retention >= longest),
                "{option} must not be shorter than {}, in which a limit counts jobs or bytes",
                humantime::format_duration(longest)
            );
        }
        Ok(())
    }
}

fn an_hour_at_least(text: &str) -> Result<Duration, String> {
    at_least(HOUR, "must be at least 1h", text)
}

fn a_month_at_least(text: &str) -> Result<Duration, String> {
    at_least(MONTH, "must be at least 31d", text)
}

fn at_least(least: Duration, problem: &str, text: &str) -> Result<Duration, String> {
    duration(text).and_then(|duration| if duration < least { Err(problem.into()) } else { Ok(duration) })
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn config(flags: &[(&'static str, &'static str)]) -> anyhow::Result<Config> {
        let required = [
            ("database-url", "postgres://user:password@host/database"),
            ("store", "memory://"),
            ("issuer", "https://issuer.example"),
            ("audience", "api://print-upload"),
            ("upload-token-key", "a key of more than 32 bytes, for tests"),
        ];
        Config::from_flags(required.into_iter().chain(flags.iter().copied()))
    }

    fn check(flags: &[(&'static str, &'static str)]) -> anyhow::Result<()> {
        let config = config(flags)?;
        config.retention.check(&config.quotas.quotas())
    }

    #[test]
    fn started_jobs_stay_by_default_and_what_is_kept_has_a_minimum() {
        let retention = config(&[]).expect("a configuration").retention.retention();
        assert_eq!(retention.started_job, None);
        for (flag, value) in [
            ("unused-job-timeout", "59m"),
            ("canceled-job-retention", "59m"),
            ("started-job-retention", "59m"),
            ("audit-retention", "30d"),
        ] {
            assert!(config(&[(flag, value)]).is_err(), "{flag}={value}");
        }
    }

    #[test]
    fn nothing_goes_that_a_limit_still_counts() {
        assert!(check(&[("canceled-job-retention", "1h"), ("started-job-retention", "1h")]).is_ok());
        let profile = ("limits", "universal-print");
        assert!(check(&[profile, ("started-job-retention", "12d")]).is_ok());
        for option in ["canceled-job-retention", "started-job-retention"] {
            let refused = check(&[profile, (option, "11d")]).expect_err("it counts 12 days").to_string();
            assert_eq!(
                refused,
                format!("--{option} must not be shorter than 12days, in which a limit counts jobs or bytes")
            );
        }
        assert!(check(&[("limit-user-bytes", "1000/2d"), ("canceled-job-retention", "1d")]).is_err());
    }
}
