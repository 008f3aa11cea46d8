//! A token bucket on tokio's clock, which tests can control.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use tokio::time::Instant;

use super::quota::Quota;

/// A token bucket that starts empty.
#[derive(Debug)]
pub(super) struct Bucket {
    quota: Quota,
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>,
    clock: TokioClock,
}

impl Bucket {
    pub(super) fn empty(quota: Quota) -> Self {
        let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let burst = at_least_one(quota.burst());
        let clock = TokioClock(Instant::now());
        let rate = governor::Quota::per_minute(at_least_one(quota.refill_per_minute())).allow_burst(burst);
        let limiter = RateLimiter::direct_with_clock(rate, clock.clone());
        let _ = limiter.check_n(burst);
        Self { quota, limiter, clock }
    }

    /// Takes a token, or returns the time until the next token.
    pub(super) fn take(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    pub(super) fn created_at(&self) -> Instant {
        self.clock.0
    }

    pub(super) fn quota(&self) -> Quota {
        self.quota
    }
}

#[derive(Clone, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
