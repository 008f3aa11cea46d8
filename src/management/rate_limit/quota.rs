//! The number of requests that an account or an organization may send.

/// Requests per minute, minus a reserve for other clients of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    pub(super) requests_per_minute: u32,
    pub(super) reserve_percent: u32,
}

impl Quota {
    /// Rate limit of the API for one organization, minus the default reserve of an account.
    pub(super) const ORGANIZATION: Self = Self { requests_per_minute: 10_000, reserve_percent: 20 };

    /// A quota for an account with this rate limit. `reserve_percent` of the limit stay available to other clients.
    pub fn new(requests_per_minute: u32, reserve_percent: u32) -> Self {
        Self { requests_per_minute, reserve_percent: reserve_percent.min(99) }
    }

    /// Requests that the operator may send in any 60 s; at least 3, the minimum for a bucket.
    ///
    /// In 60 s a bucket allows at most the burst, one minute's refill and one token whose request waits for the
    /// organization's limiter. These three add up to the share.
    pub(super) fn share(self) -> u32 {
        let share = u64::from(self.requests_per_minute) * u64::from(100 - self.reserve_percent) / 100;
        u32::try_from(share).unwrap_or(u32::MAX).max(3)
    }

    /// Requests that may be sent at once after an idle time.
    ///
    /// A twentieth of the share: a reconcile of an app needs a few calls, and a larger burst would only advance later
    /// requests. At most a quarter of the reserve: all requests of a burst are sent before the first response can show
    /// that the account is almost exhausted.
    pub(super) fn burst(self) -> u32 {
        let reserve = self.requests_per_minute.saturating_sub(self.share());
        (self.share() / 20).min(reserve / 4).max(1)
    }

    /// Tokens that a bucket gains per minute.
    pub(super) fn refill_per_minute(self) -> u32 {
        self.share() - self.burst() - 1
    }

    /// The stricter value of each setting.
    pub(super) fn strictest(self, other: Self) -> Self {
        Self {
            requests_per_minute: self.requests_per_minute.min(other.requests_per_minute),
            reserve_percent: self.reserve_percent.max(other.reserve_percent),
        }
    }
}
