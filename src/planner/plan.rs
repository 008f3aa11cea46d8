//! Input and output of a plan: the observations that a decision uses, the writes that follow, and the outcome.

use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::messages::list_items;
use super::resource::ResourcePlanner;
use super::runtime_state::{self, Corrections, RetryHold, RuntimeState};
use super::schedule::{self, Timings};
use super::status::{self, LastResult, requested_reconcile};
use crate::api::{FINALIZER, Reason};
use crate::management::types::ApiError;

/// Maximum number of paths in a message.
pub(crate) const MAX_SHOWN_PATHS: usize = 8;

/// Identity of this operator in the remote side's owner tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Distinguishes clusters that use the same account.
    pub cluster_id: String,
}

/// Result of an observation.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed<T> {
    /// The observed thing exists.
    Present(T),
    /// The observed thing certainly does not exist.
    Absent,
    /// The observation failed. The operator creates and deletes nothing because of an unknown observation.
    Unknown(ApiError),
}

impl<T> Observed<T> {
    /// The error of a failed observation.
    pub(crate) fn error(&self) -> Option<&ApiError> {
        match self {
            Self::Unknown(error) => Some(error),
            Self::Present(_) | Self::Absent => None,
        }
    }
}

/// A value, and the time at which the request that returned the value started.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation<T> {
    /// The value.
    pub value: T,
    /// Start of the request.
    pub started_at: Timestamp,
}

/// Result of a remote write.
#[derive(Clone, Debug)]
pub struct WriteResult<R> {
    /// The response, or the error.
    pub result: Result<R, ApiError>,
    /// Start of the request.
    pub started_at: Timestamp,
}

/// The only input of a plan.
#[derive(Debug)]
pub struct PlanInput<'a, K: ResourcePlanner> {
    /// Metadata of the object.
    pub meta: &'a ObjectMeta,
    /// The validated spec.
    pub desired: &'a K::Desired,
    /// Whether a user suspended the object.
    pub suspended: bool,
    /// The stored status with all external state that this reconcile has learned.
    pub status: &'a K::Status,
    /// State of the object that only this process has.
    pub runtime_state: &'a RuntimeState,
    /// Observations of this reconcile.
    pub observed: &'a K::Observed,
    /// Timing settings.
    pub timings: &'a Timings,
    /// A fresh random ID (32 hexadecimal digits).
    pub fresh_id: &'a str,
    /// Time of the decision.
    pub now: Timestamp,
}

impl<K: ResourcePlanner> PlanInput<'_, K> {
    /// Whether the object is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// Whether the stored object has the operator's finalizer.
    pub fn has_finalizer(&self) -> bool {
        self.meta.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
    }

    /// Whether an object that the spec refers to has another version than the one applied last.
    pub(crate) fn sources_changed(&self) -> bool {
        K::sources(self) != K::core(self.status).observed_sources
    }

    /// Resync interval, raised to the operator's minimum.
    pub fn interval(&self) -> Duration {
        self.timings.interval(K::resync(self).interval)
    }

    /// Offset of this object's resyncs in the interval; the same in every process.
    pub fn resync_offset(&self) -> u64 {
        K::resync(self).offset
    }

    /// Whether Ready is True for the current generation.
    pub fn is_ready(&self) -> bool {
        let conditions = &K::core(self.status).conditions;
        LastResult::from_conditions(conditions, self.meta.generation) == Some(LastResult::Ready)
    }

    /// Whether Ready became Unknown for the current generation because resyncs failed for too long.
    pub fn is_ready_unknown(&self) -> bool {
        super::conditions::is_ready_unknown(&K::core(self.status).conditions, self.meta.generation)
    }

    /// Result of the last reconcile, if that reconcile handled this very state of the object.
    pub(crate) fn last_result(&self) -> Option<LastResult> {
        LastResult::of_current(K::core(self.status), self.meta)
    }

    /// Whether the last reconcile handled this very state of the object and stalled for this reason.
    pub(crate) fn is_stalled_for(&self, reason: Reason) -> bool {
        status::has_reason(K::core(self.status), reason) && self.last_result() == Some(LastResult::Stalled)
    }

    /// Whether the operator's last write is so recent that a read may not show the write yet.
    pub fn is_within_settle_period(&self) -> bool {
        let is_recent = |at| schedule::elapsed(at, self.now) < self.timings.write_settle_period;
        self.runtime_state.last_write.is_some_and(is_recent)
    }

    /// Whether a resync is due.
    pub(crate) fn is_resync_due(&self, interval: Duration) -> bool {
        schedule::is_due(self.resync_offset(), interval, self.runtime_state.last_synced_or_seen(), self.now)
    }

    /// Earliest start of a read that a write may be based on.
    pub(crate) fn oldest_usable_read(&self) -> Timestamp {
        self.now.checked_sub(self.timings.max_read_age).unwrap_or(Timestamp::MIN)
    }

    /// Scheduled time of the resync that is due now, if the object was ready before and nothing else requires a read.
    /// All objects of an app resync at that time, so one read from then on serves all of them.
    pub(crate) fn due_resync(&self) -> Option<Timestamp> {
        let interval = self.interval();
        (self.last_result() == Some(LastResult::Ready) && self.is_resync_due(interval))
            .then(|| schedule::previous_resync(self.resync_offset(), interval, self.now))
    }

    /// End of the hold on a rejected write, if the object has not changed since the rejection.
    pub(crate) fn write_held_until(&self) -> Option<Timestamp> {
        let hold = self.runtime_state.retry_hold.as_ref()?;
        let is_same = hold.generation == self.meta.generation
            && hold.requested.as_deref() == requested_reconcile(self.meta)
            && hold.sources == K::sources(self);
        (is_same && self.now < hold.until).then_some(hold.until)
    }

    /// The hold that follows from an outcome: no event repeats a rejected write before its retry time.
    pub fn retry_hold(&self, outcome: &Outcome) -> Option<RetryHold> {
        let Outcome::WriteFailed(_, _, retry) = outcome else { return None };
        if !K::RETRY_POLICY.holds(*retry) {
            return None;
        }
        let until = self.now.checked_add(schedule::requeue_after(self, outcome)?).ok()?;
        let requested = requested_reconcile(self.meta).map(str::to_owned);
        Some(RetryHold { generation: self.meta.generation, requested, sources: K::sources(self), until })
    }

    /// Whether a path was corrected too often, and too recently, to correct the path again.
    pub(crate) fn is_correction_loop(&self, path: &str) -> bool {
        let (generation, cooldown) = (self.meta.generation, self.timings.correction_loop_cooldown);
        self.runtime_state.corrections.is_correction_loop(generation, path, self.now, cooldown)
    }

    /// Outcome for paths that are in a correction loop.
    pub(crate) fn correction_loop(&self, paths: &[&str]) -> Outcome {
        let verb = if paths.len() == 1 { "was" } else { "were" };
        let message = format!(
            "Correction loop: {} {verb} corrected {} times and changed again by another client. Stop the other client, \
             then edit the spec. Next attempt in {}",
            list_items(paths.iter().copied(), MAX_SHOWN_PATHS),
            Corrections::MAX_CORRECTIONS,
            schedule::display_duration(self.timings.correction_loop_cooldown)
        );
        Outcome::Stalled(Reason::CorrectionLoop, message)
    }

    /// Whether the reconcile can end without a read: nothing changed since the last one, and no resync is due.
    pub(crate) fn can_skip(&self) -> bool {
        // Requests from before the start of this process count as handled; otherwise the next resync handles them.
        let annotations = runtime_state::annotations_digest(self.meta);
        let has_request = self.runtime_state.annotations.is_some_and(|before| before != annotations);
        let unchanged = !self.runtime_state.force_resync && !has_request;
        let unverified =
            super::conditions::is_unverified_since_suspension(&K::core(self.status).conditions, self.meta.generation);
        match self.last_result() {
            Some(LastResult::Ready) => {
                !unverified && (!self.is_resync_due(self.interval()) || self.is_within_settle_period())
            }
            Some(LastResult::Stalled) => {
                unchanged && !self.is_resync_due(self.interval().max(self.timings.stalled_resync_interval))
            }
            None => unchanged && self.write_held_until().is_some(),
        }
    }
}

/// The next writes. A plan is data; the code that carries the plan out decides nothing.
#[derive(Debug, PartialEq)]
pub struct Plan<K: ResourcePlanner> {
    /// Status with all external state that is known now; stored at the end of the reconcile at the latest.
    pub status: K::Status,
    /// Kubernetes write that must come first.
    pub first: Option<KubernetesWrite>,
    /// Remote write.
    pub remote: Option<K::Write>,
    /// Outcome of the reconcile if the plan has no write.
    pub outcome: Outcome,
    /// Events to publish after the writes.
    pub events: Vec<EventRecord>,
}

impl<K: ResourcePlanner> Plan<K> {
    /// A plan without writes.
    pub(crate) fn no_op(status: &K::Status, outcome: Outcome) -> Self {
        Self { status: status.clone(), first: None, remote: None, outcome, events: Vec::new() }
    }

    /// One Kubernetes write.
    pub(crate) fn kubernetes(status: K::Status, write: KubernetesWrite, outcome: Outcome) -> Self {
        Self { status, first: Some(write), remote: None, outcome, events: Vec::new() }
    }

    /// One remote write.
    pub(crate) fn remote(status: K::Status, write: K::Write, message: impl Into<String>) -> Self {
        let outcome = Outcome::InProgress(message.into());
        Self { status, first: None, remote: Some(write), outcome, events: Vec::new() }
    }

    /// Removal of the operator's finalizer; nothing remote remains to be done.
    pub(crate) fn release(status: &K::Status) -> Self {
        Self::kubernetes(status.clone(), KubernetesWrite::RemoveFinalizer, Outcome::Finalized)
    }

    /// Whether the plan has no write.
    pub fn is_no_op(&self) -> bool {
        self.first.is_none() && self.remote.is_none()
    }
}

/// A write to the object itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubernetesWrite {
    /// Adds the operator's finalizer.
    AddFinalizer,
    /// Removes the operator's finalizer.
    RemoveFinalizer,
    /// Stores the status of the plan.
    StoreStatus,
}

/// Outcome of a plan or of a reconcile.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The remote side matches the spec.
    InSync,
    /// Nothing was read because nothing changed.
    Skipped,
    /// Steps remain.
    InProgress(String),
    /// Another Kubernetes object must change first. The watch of that object triggers the next reconcile.
    WaitingForDependency(Reason, String),
    /// Like `WaitingForDependency`, for an object that no longer exists. Sets Ready to False.
    DependencyDeleted(Reason, String),
    /// A read failed.
    ReadFailed(Reason, String, Retry),
    /// A write was rejected, or its outcome is unknown.
    WriteFailed(Reason, String, Retry),
    /// The object requires user action. Resyncs only read.
    Stalled(Reason, String),
    /// A user suspended the object.
    Suspended,
    /// The object is being deleted and waits.
    Terminating(String),
    /// The operator's finalizer is removed.
    Finalized,
}

/// Time of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After the object's own backoff.
    Backoff,
    /// After this time, or the backoff if that is longer.
    After(Duration),
}

/// An event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Whether the event is a warning.
    pub warning: bool,
    /// Action of the operator, in one machine-readable word.
    pub action: &'static str,
    /// Reason of the action, in one machine-readable word.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

impl EventRecord {
    pub(crate) fn normal(action: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self { warning: false, action, reason: reason.to_owned(), message: message.into() }
    }

    pub(crate) fn warning(action: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self { warning: true, action, reason: reason.to_owned(), message: message.into() }
    }
}
