//! What this process knows of an object and status does not.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Outcome, digest, schedule};
use crate::api::{GROUP, SourceVersion};

/// What this process knows of an object and status does not.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeState {
    /// When this process first saw the object.
    pub since: Timestamp,
    /// Failures in a row; of one that is being deleted, since its deletion was first seen.
    pub failures: u32,
    /// Whether its deletion was seen.
    pub deletion_seen: bool,
    /// When the last complete observation was begun.
    pub last_synced_at: Option<Timestamp>,
    /// When our last remote write ended.
    pub last_write: Option<Timestamp>,
    /// What was written lately, by name, where several things are told apart: a read may not show it yet.
    pub written: BTreeMap<String, Timestamp>,
    /// Since when remote work is wanted and not done.
    pub pending_since: Option<Timestamp>,
    /// Something changed that may have kept the object from being as wanted.
    pub force_resync: bool,
    /// A refused write is not repeated before this.
    pub retry_hold: Option<RetryHold>,
    /// Digest of our own annotations when the object was last looked at.
    pub annotations: Option<u64>,
    /// What was put back, and how often.
    pub corrections: Corrections,
}

/// How often each path was put back since the spec was last changed. Counted in this process only: a restart lets a
/// fight go on for as many rounds again, and writes no counter into status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrections {
    generation: Option<i64>,
    paths: BTreeMap<String, (u32, Timestamp)>,
}

impl Corrections {
    /// The same correction so often without a change of what is wanted is a fight.
    const FIGHT: u32 = 3;

    /// Counts what a write has put back. One correction a `pause` is none too many: it starts the count anew.
    pub fn count(&mut self, generation: Option<i64>, paths: &[String], now: Timestamp, pause: Duration) {
        if self.generation != generation {
            *self = Self { generation, paths: BTreeMap::new() };
        }
        for path in paths {
            let (times, last) = self.paths.entry(path.clone()).or_insert((0, now));
            *times = if schedule::elapsed(*last, now) >= pause { 1 } else { *times + 1 };
            *last = now;
        }
    }

    /// Whether a path was put back too often, and too lately, to be put back again.
    pub(crate) fn is_correction_loop(
        &self,
        generation: Option<i64>,
        path: &str,
        now: Timestamp,
        pause: Duration,
    ) -> bool {
        let counted = self.paths.get(path).filter(|_| self.generation == generation);
        counted.is_some_and(|(times, last)| *times >= Self::FIGHT && schedule::elapsed(*last, now) < pause)
    }
}

/// Until when a refused write is held back, and for which state of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryHold {
    pub(super) generation: Option<i64>,
    pub(super) requested: Option<String>,
    pub(super) sources: Vec<SourceVersion>,
    pub(super) until: Timestamp,
}

impl RuntimeState {
    /// Of an object seen for the first time.
    pub fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            failures: 0,
            deletion_seen: false,
            last_synced_at: None,
            last_write: None,
            written: BTreeMap::new(),
            pending_since: None,
            force_resync: false,
            retry_hold: None,
            annotations: None,
            corrections: Corrections::default(),
        }
    }

    /// Takes note of what a visit begins with.
    pub fn begin(&mut self, meta: &ObjectMeta, quiet_since: Timestamp) {
        self.written.retain(|_, at| *at > quiet_since);
        if meta.deletion_timestamp.is_some() && !std::mem::replace(&mut self.deletion_seen, true) {
            // What was in the way of keeping it says nothing of its end.
            self.failures = 0;
        }
    }

    /// Whether a failed write is held back, if the object is as it was then.
    pub fn is_write_held(&self, now: Timestamp) -> bool {
        self.retry_hold.as_ref().is_some_and(|hold| now < hold.until)
    }

    /// Takes note of a write that has ended, and of what it may have changed.
    pub fn wrote(&mut self, names: Vec<String>, now: Timestamp) {
        self.last_write = Some(now);
        self.written.extend(names.into_iter().map(|name| (name, now)));
    }

    /// Keeps what is to be known of a visit that began then and ended so. Says whether it looked at anything.
    pub fn account(&mut self, outcome: &Outcome, began: Timestamp, meta: &ObjectMeta) -> bool {
        let timings = matches!(outcome, Outcome::WaitingForDependency(..) | Outcome::DependencyDeleted(..));
        let looked = !timings && !matches!(outcome, Outcome::Skipped | Outcome::Suspended);
        self.force_resync &= !looked;
        if looked || self.annotations.is_none() {
            self.annotations = Some(annotations(meta));
        }
        match outcome {
            Outcome::InSync | Outcome::Stalled(..) => {
                self.last_synced_at = Some(began);
                (self.failures, self.pending_since) = (0, None);
            }
            // Whoever resumes it wants to see how it is.
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
            // What was seen does not suffice: the next visit looks anew and takes no shared answer from before.
            Outcome::ReadFailed(..) | Outcome::Terminating(_) => {
                self.failures = self.failures.saturating_add(1);
                self.pending_since = None;
            }
        }
        looked
    }
}

/// Digest of the annotations by which people ask something of the operator.
pub(super) fn annotations(meta: &ObjectMeta) -> u64 {
    let own = meta.annotations.iter().flatten().filter(|(key, _)| key.starts_with(GROUP));
    digest::number(&own.map(|(key, value)| format!("{key}={value}\n")).collect::<String>())
}
