//! Time of the next reconcile: the next resync, or the retry of a failure.

use std::time::Duration;

use super::digest;
use super::outcome::{Outcome, Retry};
use super::resource::{PlanInput, ResourcePlanner};
use super::runtime_state::RetryHold;
use super::schedule::{doubled_delay, elapsed, next_resync};
use super::status::requested_reconcile;

/// The hold that follows from an outcome: no event repeats a rejected write before its retry time.
pub(crate) fn retry_hold<K: ResourcePlanner>(input: &PlanInput<'_, K>, outcome: &Outcome) -> Option<RetryHold> {
    let Outcome::WriteFailed(_, _, retry) = outcome else { return None };
    if !K::HOLDS_EVERY_FAILED_WRITE && *retry == Retry::Backoff {
        return None;
    }
    let until = input.now.checked_add(requeue_after(input, outcome)?).ok()?;
    let requested = requested_reconcile(input.meta).map(str::to_owned);
    Some(RetryHold { generation: input.meta.generation, requested, until })
}

/// Delay until the next reconcile, unless an event triggers one before.
pub(crate) fn requeue_after<K: ResourcePlanner>(input: &PlanInput<'_, K>, outcome: &Outcome) -> Option<Duration> {
    let interval = input.interval();
    if let (Outcome::Skipped, Some(until)) = (outcome, input.write_held_until()) {
        return Some(elapsed(input.now, until));
    }
    match outcome {
        Outcome::WaitingForDependency(..) => {
            let wait = K::wait_until(input).map_or(Duration::MAX, |until| elapsed(input.now, until));
            Some(wait.min(until_resync(input, interval)))
        }
        Outcome::InSync | Outcome::Skipped | Outcome::DependencyDeleted(..) => Some(until_resync(input, interval)),
        Outcome::Stalled(..) => Some(until_resync(input, interval.max(input.timings.stalled_resync_interval))),
        Outcome::ReadFailed(_, _, retry) | Outcome::WriteFailed(_, _, retry) => Some(retry_delay(input, *retry)),
        Outcome::InProgress(_) | Outcome::Terminating(_) => Some(retry_delay(input, Retry::Backoff)),
        Outcome::Suspended | Outcome::Finalized => None,
    }
}

fn until_resync<K: ResourcePlanner>(input: &PlanInput<'_, K>, interval: Duration) -> Duration {
    let last = input.runtime_state.last_synced_or_seen();
    let settled_at =
        input.runtime_state.last_write.and_then(|at| at.checked_add(input.timings.write_settle_period).ok());
    // A resync time within the settle period is handled at the end of that period.
    let next = next_resync(input.resync_offset(), interval, last).max(settled_at.unwrap_or(last));
    let next = if next > input.now { next } else { next_resync(input.resync_offset(), interval, input.now) };
    elapsed(input.now, next)
}

fn retry_delay<K: ResourcePlanner>(input: &PlanInput<'_, K>, retry: Retry) -> Duration {
    let (failures, timings) = (input.runtime_state.failures, input.timings);
    let limit = if K::RETRIES_WITHIN_INTERVAL { input.interval() } else { Duration::MAX };
    let longest = doubled_delay(timings.min_retry_delay, failures, timings.max_retry_delay).min(limit);
    // Half fixed, half jitter. The jitter differs by object and attempt, and is the same in every run of a test.
    let jitter = digest::number(&format!("{}/{failures}", input.resync_offset())) % 1000;
    let backoff = longest / 2 + longest.mul_f64(jitter as f64 / 2000.0);
    match retry {
        Retry::Backoff => backoff,
        // Bounded, so that a fix takes effect no later than after any other failure.
        Retry::After(after) => {
            after.min(timings.max_retry_delay.max(timings.rejected_write_retry_interval)).max(backoff)
        }
    }
}
