//! How often a caller may call one replica. Cancels have a limit of their own, so that no other call delays one.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::HashMapStateStore,
};

use super::{credentials::Credentials, rules::Rule};
use crate::{
    error::Error,
    name::SessionId,
    proto::Proof,
    quotas::{Limit, Reached, retry_after},
    session::Caller,
};

/// After how many calls the callers are forgotten that have called so rarely that they could be new. So not many more
/// are kept than have called in the last second.
const FORGET_AFTER: usize = 4096;

/// The rates of this replica. `None` is no limit.
#[derive(Debug)]
pub struct Rates {
    requests: Option<Rate>,
    cancels: Option<Rate>,
}

/// Who is limited.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Caller(Caller),
    /// The callers with the upload URL of one session, since it was last renewed.
    UploadUrl(SessionId, u32),
}

/// One rate, of each caller.
#[derive(Debug)]
struct Rate {
    limit: Limit,
    max: NonZeroU32,
    limiter: RateLimiter<Key, HashMapStateStore<Key>, DefaultClock>,
    calls: AtomicUsize,
}

impl Rates {
    /// Allows each caller so many calls and so many cancels in a second.
    pub fn new([requests, cancels]: [Option<NonZeroU32>; 2]) -> Self {
        let rate = |limit, max: Option<NonZeroU32>| max.map(|max| Rate::new(limit, max));
        Self { requests: rate(Limit::Requests, requests), cancels: rate(Limit::Cancels, cancels) }
    }

    /// Counts a call. Fails if its caller makes too many. Calls that maintain the catalog are not limited.
    pub(super) fn check(&self, credentials: &Credentials, rule: &Rule) -> Result<(), Error> {
        if rule.proof == Proof::CatalogCaller && credentials.require_permission(rule).is_ok() {
            return Ok(());
        }
        let rate = if rule.is_cancel { &self.cancels } else { &self.requests };
        let Some(rate) = rate else { return Ok(()) };
        rate.check(&match credentials {
            Credentials::Token(token) => Key::Caller(token.caller.clone()),
            Credentials::Capability(capability) => Key::UploadUrl(capability.session, capability.url_generation),
        })
    }
}

impl Rate {
    fn new(limit: Limit, max: NonZeroU32) -> Self {
        Self { limit, max, limiter: RateLimiter::hashmap(Quota::per_second(max)), calls: AtomicUsize::new(0) }
    }

    fn check(&self, key: &Key) -> Result<(), Error> {
        if self.calls.fetch_add(1, Ordering::Relaxed) % FORGET_AFTER == FORGET_AFTER - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(key).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Error::LimitReached(Reached {
                limit: self.limit,
                max: self.max.get().into(),
                window: Some(Duration::from_secs(1)),
                retry_after: Some(retry_after(wait)),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{guard::Rules, name::TenantId, session::Capability};

    fn key(number: usize) -> Key {
        Key::UploadUrl(SessionId(Uuid::from_u128(number as u128)), 0)
    }

    /// So rare that nothing becomes free during the test.
    fn rare() -> Rate {
        let limiter = RateLimiter::hashmap(Quota::per_hour(NonZeroU32::new(3).expect("three")));
        Rate { limiter, ..Rate::new(Limit::Requests, NonZeroU32::MIN) }
    }

    #[test]
    fn a_caller_over_its_rate_is_refused_and_others_are_not() {
        let rate = rare();
        for _ in 0..3 {
            assert!(rate.check(&key(1)).is_ok());
        }
        let Err(Error::LimitReached(reached)) = rate.check(&key(1)) else { panic!("a fourth call") };
        assert_eq!((reached.limit, reached.retry_after), (Limit::Requests, Some(Duration::from_secs(300))));
        assert!(rate.check(&key(2)).is_ok());
    }

    #[test]
    fn an_upload_url_that_was_renewed_takes_nothing_from_the_new_one() {
        let rates = Rates { requests: Some(rare()), cancels: None };
        let rules = Rules::load().expect("rules");
        let rule = rules.of("/print.upload.v1.UploadSessions/GetUploadSession").expect("a rule");
        let call = |url_generation| {
            let (tenant, session) = (TenantId(Uuid::nil()), SessionId(Uuid::nil()));
            rates.check(&Credentials::Capability(Capability { tenant, session, url_generation }), rule)
        };
        while call(0).is_ok() {}
        assert!(call(1).is_ok());
    }

    #[test]
    fn callers_that_call_no_more_are_forgotten() {
        // A caller could be new again after a nanosecond.
        let rate = Rate::new(Limit::Requests, NonZeroU32::new(1_000_000_000).expect("many"));
        for number in 0..4 * FORGET_AFTER {
            rate.check(&key(number)).expect("allowed");
        }
        assert!(rate.limiter.len() <= FORGET_AFTER + 1, "{}", rate.limiter.len());
    }
}
