//! State of an object that only this process has. Status never contains this state.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use super::outcome::{EventRecord, Outcome};
use super::{digest, schedule};
use crate::api::{GROUP, SourceVersion};

/// State of an object that only this process has.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeState {
    /// Time at which this process first saw the object.
    pub first_seen_at: Timestamp,
    /// Consecutive failures; for a terminating object, since the deletion was first seen.
    pub failures: u32,
    /// Failure of the last write to the object, once logged; none after a stored status.
    pub failed_store: Option<StoreFailure>,
    /// Report of the last reconcile whose conditions are not known to be stored.
    pub unstored_report: Option<UnstoredReport>,
    /// Generation at which this process first observed the deletion.
    pub deletion_generation: Option<i64>,
    /// Start of the last successful resync.
    pub last_synced_at: Option<Timestamp>,
    /// End of the operator's last remote write.
    pub last_write: Option<Timestamp>,
    /// Error of the last remote write, if the write may have taken effect.
    pub unknown_outcome: Option<String>,
    /// End of the last write by name, for kinds with several remote items. Kept for the settle period.
    pub recent_writes: BTreeMap<String, Timestamp>,
    /// Time since which remote work is pending.
    pub pending_since: Option<Timestamp>,
    /// True if the next reconcile must read, regardless of the last result.
    pub force_resync: bool,
    /// Hold on a rejected write.
    pub retry_hold: Option<RetryHold>,
    /// Referenced objects of the last attempt, with the digests of their content; none before the first attempt.
    pub attempted_sources: Option<Vec<SourceVersion>>,
    /// Digest of the operator's annotations at the last reconcile that read something.
    pub annotations: Option<u64>,
    /// Number of corrections by path.
    pub corrections: Corrections,
}

/// Number of corrections by path since the last change of the spec. A restart resets the number, so that status needs
/// no counter; a correction loop then runs for three more corrections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrections {
    generation: Option<i64>,
    paths: BTreeMap<String, (u32, Timestamp)>,
}

impl Corrections {
    /// The same correction this often without a change of the spec is a correction loop.
    pub(super) const MAX_CORRECTIONS: u32 = 3;

    /// Counts the corrections of a write. After `cooldown` without a correction of a path, its count restarts.
    pub fn count(&mut self, generation: Option<i64>, paths: &[String], now: Timestamp, cooldown: Duration) {
        if self.generation != generation {
            *self = Self { generation, paths: BTreeMap::new() };
        }
        for path in paths {
            let (times, last) = self.paths.entry(path.clone()).or_insert((0, now));
            *times = if schedule::elapsed(*last, now) >= cooldown { 1 } else { *times + 1 };
            *last = now;
        }
    }

    /// Returns true if a path was corrected too often, and too recently, to correct the path again.
    pub(crate) fn is_correction_loop(
        &self,
        generation: Option<i64>,
        path: &str,
        now: Timestamp,
        cooldown: Duration,
    ) -> bool {
        let counted = self.paths.get(path).filter(|_| self.generation == generation);
        counted.is_some_and(|(times, last)| *times >= Self::MAX_CORRECTIONS && schedule::elapsed(*last, now) < cooldown)
    }
}

/// Suppresses retries of a rejected write, as long as the object does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryHold {
    pub(super) generation: Option<i64>,
    pub(super) requested: Option<String>,
    pub(super) until: Timestamp,
}

/// Conditions that a reconcile reported, and their events, which are published once the conditions are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct UnstoredReport {
    pub(super) conditions: Vec<Condition>,
    pub(super) events: Vec<EventRecord>,
}

impl UnstoredReport {
    /// Returns true if `stored` are the conditions of the report. Their transition times do not count: a repeated
    /// report has later ones.
    pub(super) fn is_stored_as(&self, stored: &[Condition]) -> bool {
        let is_same = |(one, other): (&Condition, &Condition)| {
            let last_transition_time = other.last_transition_time.clone();
            Condition { last_transition_time, ..one.clone() } == *other
        };
        self.conditions.len() == stored.len() && self.conditions.iter().zip(stored).all(is_same)
    }
}

/// Kind of failure of a write to the object itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// The apiserver rejected the write with this status code.
    Rejected(u16),
    /// The apiserver did not respond.
    NoResponse,
    /// The apiserver stored the status without some fields.
    FieldsDropped,
}

impl RuntimeState {
    /// State of an object that this process sees for the first time.
    pub fn new(now: Timestamp) -> Self {
        Self {
            first_seen_at: now,
            failures: 0,
            failed_store: None,
            unstored_report: None,
            deletion_generation: None,
            last_synced_at: None,
            last_write: None,
            unknown_outcome: None,
            recent_writes: BTreeMap::new(),
            pending_since: None,
            force_resync: false,
            retry_hold: None,
            attempted_sources: None,
            annotations: None,
            corrections: Corrections::default(),
        }
    }

    /// Start of the last successful resync, or else the time at which this process first saw the object.
    pub fn last_synced_or_seen(&self) -> Timestamp {
        self.last_synced_at.unwrap_or(self.first_seen_at)
    }

    /// Returns true if a rejected write is held, provided that the object has not changed.
    pub fn is_write_held(&self, now: Timestamp) -> bool {
        self.retry_hold.as_ref().is_some_and(|hold| now < hold.until)
    }

    /// Prepares the state for a reconcile. Writes from before `settled_before` have settled.
    pub(super) fn begin(&mut self, meta: &ObjectMeta, settled_before: Timestamp) {
        self.recent_writes.retain(|_, at| *at > settled_before);
        if meta.deletion_timestamp.is_some() && self.deletion_generation.is_none() {
            self.deletion_generation = meta.generation;
            // Earlier failures do not predict the outcome of the deletion.
            self.failures = 0;
        }
    }

    /// Records a remote write, and the names of the items that the write may have changed.
    pub(super) fn record_write(&mut self, names: Vec<String>, now: Timestamp) {
        self.last_write = Some(now);
        self.recent_writes.extend(names.into_iter().map(|name| (name, now)));
    }

    /// Records the outcome of a reconcile that started at `started_at`. Returns true if the outcome follows from reads
    /// or writes, so that it decides on a retry hold.
    pub(super) fn record_outcome(&mut self, outcome: &Outcome, started_at: Timestamp, meta: &ObjectMeta) -> bool {
        let has_read = !matches!(
            outcome,
            Outcome::WaitingForDependency(..) | Outcome::DependencyDeleted(..) | Outcome::Skipped | Outcome::Suspended
        );
        self.force_resync &= !has_read;
        if has_read || self.annotations.is_none() {
            self.annotations = Some(annotations_digest(meta));
        }
        match outcome {
            Outcome::InSync | Outcome::Stalled(..) => {
                self.last_synced_at = Some(started_at);
                (self.failures, self.pending_since) = (0, None);
            }
            // A user who resumes the object expects a new attempt.
            Outcome::Suspended => (self.pending_since, self.retry_hold) = (None, None),
            Outcome::Skipped
            | Outcome::WaitingForDependency(..)
            | Outcome::DependencyDeleted(..)
            | Outcome::Finalized => {
                self.pending_since = None;
            }
            Outcome::WriteFailed(..) | Outcome::InProgress(_) => {
                self.failures = self.failures.saturating_add(1);
            }
            // The reads were not sufficient: the next reconcile accepts only reads from then on.
            Outcome::ReadFailed(..) | Outcome::Terminating(_) => {
                self.failures = self.failures.saturating_add(1);
                self.pending_since = None;
            }
        }
        has_read
    }

    /// Records a failed write to the object, which delays the next reconcile. Returns true if no failure of this kind
    /// was recorded since the last stored status.
    pub(crate) fn record_failed_store(&mut self, failure: StoreFailure) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failed_store.replace(failure) != Some(failure)
    }
}

/// Digest of the annotations by which users request something from the operator.
pub(super) fn annotations_digest(meta: &ObjectMeta) -> u64 {
    let own = meta.annotations.iter().flatten().filter(|(key, _)| key.starts_with(GROUP));
    digest::number(&own.map(|(key, value)| format!("{key}={value}\n")).collect::<String>())
}
