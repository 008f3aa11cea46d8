//! Questions that the planner asks of the input of a plan.

use std::time::Duration;

use jiff::Timestamp;

use super::messages::{MAX_SHOWN_PATHS, list_items};
use super::outcome::{Outcome, Retry};
use super::resource::{PlanInput, ResourcePlanner};
use super::runtime_state::{self, Corrections, RetryHold};
use super::status::{self, LastResult, requested_reconcile};
use super::{conditions, schedule};
use crate::api::{Reason, SourceVersion};

impl<K: ResourcePlanner> PlanInput<'_, K> {
    /// Returns true if the object is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// Returns true if the stored object has the operator's finalizer.
    pub fn has_finalizer(&self) -> bool {
        status::has_finalizer(self.meta)
    }

    /// The objects that the spec refers to, as observed. If only the version was observed, a recorded version has the
    /// recorded digest.
    pub(crate) fn sources(&self) -> Vec<SourceVersion> {
        let recorded = &K::core(self.status).observed_sources;
        let complete = |source: SourceVersion| match recorded.iter().find(|known| known.is_same_version(&source)) {
            Some(known) if source.digest.is_none() => known.clone(),
            _ => source,
        };
        K::sources(self).into_iter().map(complete).collect()
    }

    /// Returns true if an object that the spec refers to has other content than the content applied last. A new version
    /// counts as other content until its content is read.
    pub(crate) fn sources_changed(&self) -> bool {
        !have_same_content(&self.sources(), &K::core(self.status).observed_sources)
    }

    /// Returns true if the last attempt of this process had the same content of the objects that the spec refers to.
    pub(crate) fn repeats_content(&self) -> bool {
        let attempted = self.runtime_state.attempted_sources.as_ref();
        attempted.is_some_and(|attempted| have_same_content(attempted, &K::attempted_sources(self)))
    }

    /// Resync interval, raised to the operator's minimum.
    pub fn interval(&self) -> Duration {
        self.timings.interval(K::resync(self).interval)
    }

    /// Offset of this object's resyncs in the interval; the same in every process.
    pub fn resync_offset(&self) -> u64 {
        K::resync(self).offset
    }

    /// Returns true if Ready is True for the current generation.
    pub fn is_ready(&self) -> bool {
        let conditions = &K::core(self.status).conditions;
        LastResult::from_conditions(conditions, self.meta.generation) == Some(LastResult::Ready)
    }

    /// Returns true if Ready became Unknown for the current generation because resyncs failed for too long.
    pub fn is_ready_unknown(&self) -> bool {
        conditions::is_ready_unknown(&K::core(self.status).conditions, self.meta.generation)
    }

    /// Result of the last reconcile, if that reconcile handled the current generation and reconcile request.
    pub(crate) fn last_result(&self) -> Option<LastResult> {
        LastResult::of_current(K::core(self.status), self.meta)
    }

    /// Returns true if the last reconcile handled the current generation and reconcile request, and stalled for this
    /// reason.
    pub(crate) fn is_stalled_for(&self, reason: Reason) -> bool {
        status::has_reason(K::core(self.status), reason) && self.last_result() == Some(LastResult::Stalled)
    }

    /// Returns true if the operator's last write is so recent that a read may not show the write yet.
    pub fn is_within_settle_period(&self) -> bool {
        let is_recent = |at| schedule::elapsed(at, self.now) < self.timings.write_settle_period;
        self.runtime_state.last_write.is_some_and(is_recent)
    }

    /// Returns true if a resync is due.
    pub(crate) fn is_resync_due(&self, interval: Duration) -> bool {
        schedule::is_due(self.resync_offset(), interval, self.runtime_state.last_synced_or_seen(), self.now)
    }

    /// Returns true if the last successful resync is so long ago that Ready becomes Unknown.
    pub(crate) fn is_overdue(&self) -> bool {
        let limit = self.interval().saturating_mul(self.timings.ready_unknown_after_intervals);
        schedule::elapsed(self.runtime_state.last_synced_or_seen(), self.now) > limit
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
        (self.is_unchanged_since(hold) && self.now < hold.until).then_some(hold.until)
    }

    /// Returns true if this attempt repeats the last one: the rejected write, if any, had the same inputs.
    pub(crate) fn repeats_attempt(&self) -> bool {
        self.runtime_state.retry_hold.as_ref().is_none_or(|hold| self.is_unchanged_since(hold))
    }

    fn is_unchanged_since(&self, hold: &RetryHold) -> bool {
        hold.generation == self.meta.generation
            && hold.requested.as_deref() == requested_reconcile(self.meta)
            && self.repeats_content()
    }

    /// Returns true if a path was corrected too often, and too recently, to correct the path again.
    pub(crate) fn is_correction_loop(&self, path: &str) -> bool {
        let (generation, cooldown) = (self.meta.generation, self.timings.correction_loop_cooldown);
        self.runtime_state.corrections.is_correction_loop(generation, path, self.now, cooldown)
    }

    /// Outcome for a missing object that the spec refers to, or a missing key. The watch of that object triggers the
    /// next reconcile.
    pub(crate) fn source_missing(&self, message: String) -> Outcome {
        let retry = Retry::After(self.timings.rejected_write_retry_interval);
        Outcome::WriteFailed(Reason::SourceNotFound, message, retry)
    }

    /// Outcome for paths that are in a correction loop.
    pub(crate) fn correction_loop(&self, paths: &[&str]) -> Outcome {
        let verb = if paths.len() == 1 { "was" } else { "were" };
        let message = format!(
            "Correction loop: {} {verb} corrected {} times and changed again by another client. Stop the other client, \
             then edit the spec. The next attempt follows {} after the last correction",
            list_items(paths.iter().copied(), MAX_SHOWN_PATHS),
            Corrections::MAX_CORRECTIONS,
            schedule::display_duration(self.timings.correction_loop_cooldown)
        );
        Outcome::Stalled(Reason::CorrectionLoop, message)
    }

    /// Returns true if the reconcile can end without a read: nothing changed since the last one, and no resync is due.
    pub(crate) fn can_skip(&self) -> bool {
        // Requests from before the start of this process count as handled; otherwise the next resync handles them.
        let annotations = runtime_state::annotations_digest(self.meta);
        let has_request = self.runtime_state.annotations.is_some_and(|before| before != annotations);
        let unchanged = !self.runtime_state.force_resync && !has_request;
        let unverified =
            conditions::is_unverified_since_suspension(&K::core(self.status).conditions, self.meta.generation);
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

/// Returns true if the content that the operator uses is the same in both. This is the only comparison of referenced
/// objects: a change of metadata, or of content that is not used, is no change.
fn have_same_content(one: &[SourceVersion], other: &[SourceVersion]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.has_same_content(other))
}
