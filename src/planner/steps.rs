//! One reconcile as a sequence of steps without I/O. The controller carries the steps out on the real APIs, the
//! planner's tests on a model.

use jiff::Timestamp;

use super::digest::Identity;
use super::lifecycle;
use super::observation::WriteResult;
use super::outcome::{EventRecord, Outcome};
use super::requeue;
use super::resource::{Plan, PlanInput, RemoteWrite, ResourcePlanner};
use super::runtime_state::{RuntimeState, UnstoredReport};
use super::schedule::Timings;
use super::status::is_suspended;

/// Maximum number of plans in one reconcile, and of rounds of reads before each plan. A create needs four plans; more
/// than eight show that the plans do not converge.
const MAX_ITERATIONS: usize = 8;

/// Input of a step besides the object.
#[derive(Clone, Copy, Debug)]
pub struct StepContext<'a> {
    /// Identity of the operator.
    pub identity: &'a Identity,
    /// Timing settings.
    pub timings: &'a Timings,
    /// A fresh random ID (32 hexadecimal digits); empty if the step plans nothing.
    pub fresh_id: &'a str,
    /// The current time.
    pub now: Timestamp,
}

/// The next step of a reconcile.
#[derive(Debug)]
pub enum Step<K: ResourcePlanner> {
    /// Carry these reads out, and add the results to [`Steps::observed`].
    Read(Vec<K::Read>),
    /// Carry this plan out: the Kubernetes write first, then the remote write.
    Write(Plan<K>),
    /// Nothing remains to be done. Publish the events, and report the outcome.
    Done(Outcome, Vec<EventRecord>),
}

/// One reconcile of one object.
#[derive(Debug)]
pub struct Steps<K: ResourcePlanner> {
    object: K,
    desired: K::Desired,
    /// The stored status with all external state learned since.
    status: K::Status,
    /// Observations of this reconcile.
    pub observed: K::Observed,
    /// State of the object that only this process has.
    pub runtime_state: RuntimeState,
    /// True if the status has external state that is not stored yet.
    unpersisted: bool,
    iterations: usize,
    reads: usize,
}

impl<K: ResourcePlanner> Steps<K> {
    /// Starts a reconcile of `object`.
    pub fn new(object: K, mut runtime_state: RuntimeState, context: StepContext<'_>) -> Self {
        let settled_before = context.now.checked_sub(context.timings.write_settle_period).unwrap_or(Timestamp::MIN);
        runtime_state.begin(object.meta(), settled_before);
        let status = object.status().cloned().unwrap_or_default();
        let desired = object.desired(context.identity);
        let observed = K::Observed::default();
        Self { object, desired, status, observed, runtime_state, unpersisted: false, iterations: 0, reads: 0 }
    }

    /// The object, in its newest known version.
    pub fn object(&self) -> &K {
        &self.object
    }

    /// The object, and the observations, to which a read adds its result.
    pub fn object_and_observed(&mut self) -> (&K, &mut K::Observed) {
        (&self.object, &mut self.observed)
    }

    /// The status with all external state that is known now.
    pub fn status(&self) -> &K::Status {
        &self.status
    }

    /// Returns true if the status has external state that is not stored yet.
    pub fn is_unpersisted(&self) -> bool {
        self.unpersisted
    }

    /// The next step.
    pub fn next(&mut self, context: StepContext<'_>) -> Step<K> {
        if self.iterations == MAX_ITERATIONS {
            let message =
                format!("The reconcile reached its limit of {MAX_ITERATIONS} iterations. The next reconcile continues");
            return Step::Done(Outcome::InProgress(message), Vec::new());
        }
        if self.reads < MAX_ITERATIONS {
            let reads = self.with_input(context, |input| lifecycle::required_reads(input));
            if !reads.is_empty() {
                self.reads += 1;
                self.runtime_state.pending_since.get_or_insert(context.now);
                return Step::Read(reads);
            }
        }
        (self.iterations, self.reads) = (self.iterations + 1, 0);
        let plan = self.with_input(context, |input| lifecycle::plan(input));
        self.status = plan.status.clone();
        if plan.is_no_op() { Step::Done(plan.outcome, plan.events) } else { Step::Write(plan) }
    }

    /// Continues with the version of the object that the apiserver returned.
    pub fn replace_object(&mut self, object: K, identity: &Identity) {
        if object.meta().generation != self.object.meta().generation {
            K::invalidate_sources(&mut self.observed);
        }
        self.desired = object.desired(identity);
        self.object = object;
    }

    /// Continues with the version of the object that a status write returned.
    pub fn status_persisted(&mut self, object: K, identity: &Identity) {
        self.replace_object(object, identity);
        self.unpersisted = false;
        self.runtime_state.failed_store = None;
    }

    /// Applies the result of a remote write. Returns whether the result must be stored before anything else happens.
    pub fn apply_write(
        &mut self,
        write: &K::Write,
        result: &WriteResult<<K::Write as RemoteWrite<K>>::Response>,
        now: Timestamp,
    ) -> bool {
        self.runtime_state.record_write(write.affected_names(result), now);
        let unknown = result.result.as_ref().err().filter(|error| !error.proves_not_applied());
        self.runtime_state.unknown_outcome = unknown.map(ToString::to_string);
        write.apply(&mut self.status, &mut self.observed, result);
        self.unpersisted = true;
        write.must_persist_immediately()
    }

    /// Records the corrections of a successful write, and returns its events.
    pub fn write_succeeded(
        &mut self,
        write: &K::Write,
        response: &<K::Write as RemoteWrite<K>>::Response,
        context: StepContext<'_>,
    ) -> Vec<EventRecord> {
        let (generation, cooldown) = (self.object.meta().generation, context.timings.correction_loop_cooldown);
        let corrected = write.corrected_paths(response);
        self.runtime_state.corrections.count(generation, &corrected, context.now, cooldown);
        write.success_events(response)
    }

    /// Records the outcome of the reconcile that started at `started_at`. Called when the report of the outcome is
    /// stored, because no outcome counts before.
    pub fn record_outcome(&mut self, outcome: &Outcome, started_at: Timestamp, context: StepContext<'_>) {
        if self.runtime_state.record_outcome(outcome, started_at, self.object.meta()) {
            let (hold, sources) =
                self.with_input(context, |input| (requeue::retry_hold(input, outcome), K::attempted_sources(input)));
            (self.runtime_state.retry_hold, self.runtime_state.attempted_sources) = (hold, Some(sources));
        }
    }

    /// Reports the outcome in [`Steps::status`]. [`Steps::take_reported_events`] returns the events for a change of
    /// Ready once the status is stored.
    pub fn report(&mut self, outcome: &Outcome, context: StepContext<'_>) {
        let (status, events) = self.with_input(context, |input| lifecycle::report(input, outcome));
        let conditions = K::core(&status).conditions.clone();
        self.runtime_state.unstored_report = Some(UnstoredReport { conditions, events });
        self.status = status;
    }

    /// The events of the last report, once: when the object has the conditions of that report.
    pub fn take_reported_events(&mut self) -> Vec<EventRecord> {
        let stored = self.object.status().map_or(&[][..], |status| &K::core(status).conditions);
        let report = &mut self.runtime_state.unstored_report;
        report.take_if(|report| report.is_stored_as(stored)).map(|report| report.events).unwrap_or_default()
    }

    /// Delay until the next reconcile after this outcome, unless an event triggers one before.
    pub fn requeue_after(&self, outcome: &Outcome, context: StepContext<'_>) -> Option<std::time::Duration> {
        self.with_input(context, |input| requeue::requeue_after(input, outcome))
    }

    /// Marks the status as stored, because it equals the stored one, no longer matters, or cannot be stored now.
    pub fn discard_unpersisted(&mut self) {
        self.unpersisted = false;
    }

    /// Calls `decide` with the input of a plan.
    pub fn with_input<T>(&self, context: StepContext<'_>, decide: impl FnOnce(&PlanInput<'_, K>) -> T) -> T {
        decide(&PlanInput {
            meta: self.object.meta(),
            desired: &self.desired,
            suspended: is_suspended(self.object.suspend(), self.object.meta()),
            status: &self.status,
            runtime_state: &self.runtime_state,
            observed: &self.observed,
            timings: context.timings,
            fresh_id: context.fresh_id,
            now: context.now,
        })
    }

    /// The object and its in-memory state, at the end of the reconcile.
    pub fn into_parts(self) -> (K, RuntimeState) {
        (self.object, self.runtime_state)
    }
}
