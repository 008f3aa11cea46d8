//! When to look again: phase-placed checks, backoff, and the waits that are settings.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Outcome, PlanInput, ResourcePlanner, Retry, RuntimeState, digest};

/// Every wait that a decision depends on. All are settings, so that tests can be quick.
#[derive(Clone, Debug, PartialEq)]
pub struct Timings {
    /// The interval of an object that names none.
    pub default_interval: Duration,
    /// The least interval: a shorter one is raised to it.
    pub min_interval: Duration,
    /// Intervals without an observation after which Ready becomes Unknown.
    pub ready_unknown_after_intervals: u32,
    /// The least time between two looks at an object that waits for a person.
    pub stalled_resync_interval: Duration,
    /// When a write is repeated whose refusal cannot be seen by reads to have lost its cause.
    pub rejected_write_retry_interval: Duration,
    /// First wait after a failure.
    pub min_retry_delay: Duration,
    /// Longest wait after failures in a row.
    pub max_retry_delay: Duration,
    /// How old the answer may be that a write by id rests on.
    pub max_read_age: Duration,
    /// How long after our own write no absence and no drift is believed.
    pub write_settle_period: Duration,
    /// How long after a create was begun it may still take effect unseen.
    pub create_confirmation_timeout: Duration,
    /// How far the clocks of the service and of this process may be apart.
    pub clock_skew: Duration,
    /// How long nothing is put back that was put back again and again.
    pub correction_loop_cooldown: Duration,
    /// How long after the deletion of a credential's Secret an object that needs it may still turn out to be going as well.
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
            // Request deadline and as long again for the service to show what it took.
            create_confirmation_timeout: Duration::from_secs(90),
            clock_skew: minutes(5),
            correction_loop_cooldown: minutes(24 * 60),
            credential_release_delay: Duration::from_secs(30),
        }
    }
}

impl Timings {
    /// The interval in force for an object that asks for this one.
    pub fn interval(&self, asked: Option<Duration>) -> Duration {
        asked.unwrap_or(self.default_interval).max(self.min_interval)
    }
}

/// An object's place in every interval: a digest of its uid, so that a fleet spreads evenly and a restart moves nothing.
pub(crate) fn phase(meta: &ObjectMeta) -> u64 {
    digest::number(meta.uid.as_deref().unwrap_or_default())
}

/// Whether a phase point lies after `last` and not after `now`.
pub(crate) fn due(phase: u64, interval: Duration, last: Timestamp, now: Timestamp) -> bool {
    now >= next_point(phase, interval, last)
}

/// The first phase point after `last`.
pub(crate) fn next_point(phase: u64, interval: Duration, last: Timestamp) -> Timestamp {
    let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let offset = i64::try_from(phase % interval.unsigned_abs()).unwrap_or(0);
    let millis = last.as_millisecond();
    let next = (millis - offset).div_euclid(interval).saturating_add(1).saturating_mul(interval).saturating_add(offset);
    Timestamp::from_millisecond(next).unwrap_or(Timestamp::MAX)
}

/// The last phase point up to `now`.
pub(crate) fn last_point(phase: u64, interval: Duration, now: Timestamp) -> Timestamp {
    next_point(phase, interval, now).checked_sub(interval).unwrap_or(Timestamp::MIN)
}

/// Time from `earlier` to `later`; nothing if the clock went back.
pub(crate) fn elapsed(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// Whether so many intervals went by without an observation that what was seen last says nothing of today.
pub(crate) fn overdue(runtime_state: &RuntimeState, interval: Duration, timings: &Timings, now: Timestamp) -> bool {
    let last = runtime_state.last_synced_at.unwrap_or(runtime_state.since);
    elapsed(last, now) > interval.saturating_mul(timings.ready_unknown_after_intervals)
}

/// When to come back.
pub(crate) fn requeue_after<K: ResourcePlanner>(input: &PlanInput<'_, K>, outcome: &Outcome) -> Option<Duration> {
    let interval = input.interval();
    let point = |interval: Duration| {
        let last = input.runtime_state.last_synced_at.unwrap_or(input.runtime_state.since);
        let quiet_ends =
            input.runtime_state.last_write.and_then(|at| at.checked_add(input.timings.write_settle_period).ok());
        // A point that has passed is visited when the quiet time after a write is over.
        let next = next_point(input.phase(), interval, last).max(quiet_ends.unwrap_or(last));
        let next = if next > input.now { next } else { next_point(input.phase(), interval, input.now) };
        elapsed(input.now, next)
    };
    if let (Outcome::Skipped, Some(until)) = (outcome, input.write_held_until()) {
        return Some(elapsed(input.now, until));
    }
    match outcome {
        Outcome::InSync | Outcome::Skipped | Outcome::WaitingForDependency(..) | Outcome::DependencyDeleted(..) => {
            Some(point(interval))
        }
        Outcome::Stalled(..) => Some(point(interval.max(input.timings.stalled_resync_interval))),
        Outcome::ReadFailed(_, _, retry) | Outcome::WriteFailed(_, _, retry) => Some(delay(input, *retry)),
        Outcome::InProgress(_) | Outcome::Terminating(_) => Some(delay(input, Retry::Backoff)),
        Outcome::Suspended | Outcome::Finalized => None,
    }
}

fn delay<K: ResourcePlanner>(input: &PlanInput<'_, K>, retry: Retry) -> Duration {
    let failures = input.runtime_state.failures;
    let doubled = input.timings.min_retry_delay.saturating_mul(1_u32.checked_shl(failures.min(20)).unwrap_or(u32::MAX));
    let longest = doubled.min(K::longest_backoff(input.interval(), input.timings));
    // Half fixed, half jitter: spread over the fleet and over the attempts, yet the same in every run of a test.
    let jitter = digest::number(&format!("{}/{failures}", input.phase())) % 1000;
    let backoff = longest / 2 + longest.mul_f64(jitter as f64 / 2000.0);
    match retry {
        Retry::Backoff => backoff,
        // However long a server asks for: whoever mends it is not to wait longer than after failures of any other kind.
        Retry::After(after) => {
            after.min(input.timings.max_retry_delay.max(input.timings.rejected_write_retry_interval)).max(backoff)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn every_interval_has_exactly_one_phase_point() {
        let interval = Duration::from_secs(600);
        for phase in [0, 1, 599_999, 600_000, u64::MAX] {
            let first = next_point(phase, interval, at(1_000_000));
            assert!(first > at(1_000_000) && first <= at(1_000_600), "{phase}");
            assert_eq!(elapsed(first, next_point(phase, interval, first)), interval, "{phase}");
        }
    }

    #[test]
    fn a_check_is_due_once_its_point_has_passed_and_not_again() {
        let interval = Duration::from_secs(600);
        let point = next_point(42, interval, at(1_000_000));
        assert!(!due(42, interval, at(1_000_000), at(1_000_000)));
        assert!(due(42, interval, at(1_000_000), point));
        assert!(!due(42, interval, point, point));
    }
}
