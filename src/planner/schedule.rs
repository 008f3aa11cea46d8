//! Times of resyncs, and the timing settings.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::digest;

/// Every wait that a decision depends on. All are settings, so that tests can be quick.
#[derive(Clone, Debug, PartialEq)]
pub struct Timings {
    /// Resync interval of an object without `spec.interval`.
    pub default_interval: Duration,
    /// Minimum resync interval.
    pub min_interval: Duration,
    /// Number of intervals without a successful resync after which Ready becomes Unknown.
    pub ready_unknown_after_intervals: u32,
    /// Minimum resync interval of a stalled object.
    pub stalled_resync_interval: Duration,
    /// Retry interval for a write rejected for a cause that no read shows (for example a plan limit).
    pub rejected_write_retry_interval: Duration,
    /// Delay after the first failure; doubled after each further failure.
    pub min_retry_delay: Duration,
    /// Maximum delay after repeated failures.
    pub max_retry_delay: Duration,
    /// Maximum age of the read that a write by ID is based on.
    pub max_read_age: Duration,
    /// Time after a write during which drift and missing objects are ignored, because reads may be stale.
    pub write_settle_period: Duration,
    /// Time for which an unconfirmed create may still take effect.
    pub create_confirmation_timeout: Duration,
    /// Maximum difference between the clocks of the API and of this process.
    pub clock_skew: Duration,
    /// Time for which a field is not corrected after a correction loop.
    pub correction_loop_cooldown: Duration,
    /// Time after which an update of an app without tag support contains the owner tags again.
    pub tag_retry_interval: Duration,
    /// Time for which a terminating SpiceApp waits for the deletion of its SpiceSecrets.
    pub dependent_deletion_wait: Duration,
    /// Time after the deletion of a credential Secret in which a dependent's deletion may still arrive.
    pub credential_release_delay: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self {
            default_interval: minutes(10),
            min_interval: minutes(1),
            ready_unknown_after_intervals: 3,
            stalled_resync_interval: minutes(10),
            rejected_write_retry_interval: minutes(30),
            min_retry_delay: Duration::from_secs(1),
            max_retry_delay: minutes(30),
            max_read_age: Duration::from_secs(30),
            write_settle_period: Duration::from_secs(30),
            // Three times the request timeout of 30 s: the request itself, and time for the API to show the app.
            create_confirmation_timeout: Duration::from_secs(90),
            clock_skew: minutes(5),
            correction_loop_cooldown: minutes(24 * 60),
            tag_retry_interval: minutes(24 * 60),
            dependent_deletion_wait: Duration::from_secs(10),
            credential_release_delay: Duration::from_secs(30),
        }
    }
}

impl Timings {
    /// Interval in force for an object that requests `requested`.
    pub fn interval(&self, requested: Option<Duration>) -> Duration {
        requested.unwrap_or(self.default_interval).max(self.min_interval)
    }
}

/// Offset of an object's resyncs: a digest of the UID, so that objects spread evenly and a restart moves no resync.
pub(crate) fn offset(uid: &str) -> u64 {
    digest::number(uid)
}

/// A duration as a message shows it, such as `1m 30s`.
pub fn display_duration(duration: Duration) -> String {
    format!("{:#}", SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX))
}

/// Returns true if a resync time lies after `last` and not after `now`.
pub(crate) fn is_due(offset: u64, interval: Duration, last: Timestamp, now: Timestamp) -> bool {
    now >= next_resync(offset, interval, last)
}

/// First resync time after `last`.
pub(crate) fn next_resync(offset: u64, interval: Duration, last: Timestamp) -> Timestamp {
    let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let offset = i64::try_from(offset % interval.unsigned_abs()).unwrap_or(0);
    let millis = last.as_millisecond();
    let next = (millis - offset).div_euclid(interval).saturating_add(1).saturating_mul(interval).saturating_add(offset);
    Timestamp::from_millisecond(next).unwrap_or(Timestamp::MAX)
}

/// Last resync time up to `now`.
pub(crate) fn previous_resync(offset: u64, interval: Duration, now: Timestamp) -> Timestamp {
    next_resync(offset, interval, now).checked_sub(interval).unwrap_or(Timestamp::MIN)
}

/// Delay before the next attempt: `first`, doubled after each of `failures` further failures, at most `max`.
pub(crate) fn doubled_delay(first: Duration, failures: u32, max: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(failures.min(20)).unwrap_or(u32::MAX)).min(max)
}

/// Time from `earlier` to `later`; zero if the clock was set back.
pub(crate) fn elapsed(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// Interval and offset of an object's resyncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resync {
    /// Interval that the spec requests; none for the default.
    pub interval: Option<Duration>,
    /// Digest that places the resyncs in the interval. Objects that share reads share the offset.
    pub offset: u64,
}

impl Resync {
    /// Resyncs of an object that shares no reads.
    pub fn new(interval: Option<Duration>, meta: &ObjectMeta) -> Self {
        Self { interval, offset: offset(meta.uid.as_deref().unwrap_or_default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn every_interval_has_exactly_one_resync_time() {
        let interval = Duration::from_secs(600);
        for phase in [0, 1, 599_999, 600_000, u64::MAX] {
            let first = next_resync(phase, interval, at(1_000_000));
            assert!(first > at(1_000_000) && first <= at(1_000_600), "{phase}");
            assert_eq!(elapsed(first, next_resync(phase, interval, first)), interval, "{phase}");
        }
    }

    #[test]
    fn a_message_shows_a_duration_in_words() {
        for (millis, expected) in [(90_000, "1m 30s"), (1_500, "1s 500ms"), (86_400_000, "24h"), (0, "0s")] {
            assert_eq!(display_duration(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn a_resync_is_due_once_when_its_time_has_passed() {
        let interval = Duration::from_secs(600);
        let point = next_resync(42, interval, at(1_000_000));
        assert!(!is_due(42, interval, at(1_000_000), at(1_000_000)));
        assert!(is_due(42, interval, at(1_000_000), point));
        assert!(!is_due(42, interval, point, point));
    }
}
