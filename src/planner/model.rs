//! Drives the steps of a reconcile on a model of the remote side, for the tests of the kinds: no mocks, no clock, no
//! I/O.

use std::fmt::Debug;
use std::ops::DerefMut;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use serde_json::Value;

use super::condition_invariants;
use super::{
    EventRecord, Identity, KubernetesWrite, Outcome, Plan, RemoteWrite, ResourcePlanner, RuntimeState, Step,
    StepContext, Steps, StoreFailure, Timings, WriteResult, has_finalizer, remaining_finalizers,
};
use crate::api::FINALIZER;
use crate::management::types::ApiError;

/// Longest text in a status, in bytes.
const MAX_TEXT_LENGTH: usize = 4096;
/// Longest status in the tests of texts, in bytes.
const MAX_STATUS_LENGTH: usize = 128 * 1024;

/// Checks that a status is short, also if the API returns long texts. `case` names the long text.
pub(super) fn check_status_length(status: &impl Serialize, case: &str) {
    let status = serde_json::to_value(status).unwrap();
    for text in texts(&status) {
        assert!(text.len() <= MAX_TEXT_LENGTH, "{case}: a text of {} bytes", text.len());
    }
    let length = status.to_string().len();
    assert!(length <= MAX_STATUS_LENGTH, "{case}: a status of {length} bytes");
}

/// Every text of a value, also the names of its fields.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, value)| texts(value).into_iter().chain([&**name])).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Response of a remote write of a kind.
pub(super) type ResponseOf<K> = <<K as ResourcePlanner>::Write as RemoteWrite<K>>::Response;

/// The object under test, and the state and clock of the process that reconciles the object.
pub(super) struct Subject<K> {
    pub(super) object: K,
    pub(super) runtime_state: RuntimeState,
    pub(super) timings: Timings,
    pub(super) now: Timestamp,
    /// True if the apiserver rejects the status that reports an outcome.
    pub(super) rejects_reports: bool,
}

impl<K: ResourcePlanner> Subject<K> {
    pub(super) fn new(object: K, now: Timestamp) -> Self {
        Self { object, runtime_state: RuntimeState::new(now), timings: Timings::default(), now, rejects_reports: false }
    }

    pub(super) fn status(&self) -> K::Status {
        self.object.status().cloned().unwrap_or_default()
    }

    /// Increments the generation, as the apiserver does after a change of the spec and at the deletion.
    pub(super) fn increment_generation(&mut self) {
        let meta = self.object.meta_mut();
        meta.generation = meta.generation.map(|generation| generation + 1);
    }

    pub(super) fn delete(&mut self) {
        self.object.meta_mut().deletion_timestamp = Some(Time(self.now));
        self.increment_generation();
    }

    pub(super) fn advance(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Starts a new process, which has only the stored object.
    pub(super) fn restart(&mut self) {
        self.runtime_state = RuntimeState::new(self.now);
    }
}

/// A subject, and a model of everything around the subject.
pub(super) trait Model<K: ResourcePlanner>: DerefMut<Target = Subject<K>> {
    /// Carries a read out.
    fn observe(&mut self, read: &K::Read, observed: &mut K::Observed);

    /// Carries a remote write out.
    fn carry_out(&mut self, write: &K::Write) -> Result<ResponseOf<K>, ApiError>;

    /// Checks the invariants of every plan.
    fn check(&mut self, _object: &K, _plan: &Plan<K>, _observed: &K::Observed) {}

    /// Returns true if the process survives the write that was just applied.
    fn survives_write(&mut self) -> bool {
        true
    }

    /// Time by the clock of the API; none if its responses have no `Date` header.
    fn server_time(&self) -> Option<Timestamp> {
        None
    }

    fn fresh_id(&mut self) -> String {
        String::new()
    }
}

/// Identity of the operator in the tests.
pub(super) fn identity() -> Identity {
    Identity { cluster_id: "cluster".into() }
}

/// Result of a reconcile.
#[derive(Debug)]
pub(super) struct Reconciled<K: ResourcePlanner> {
    pub(super) reads: Vec<K::Read>,
    pub(super) first: Vec<KubernetesWrite>,
    pub(super) writes: Vec<K::Write>,
    /// Iterations that were not Kubernetes writes alone.
    pub(super) iterations: usize,
    pub(super) outcome: Outcome,
    pub(super) events: Vec<EventRecord>,
    pub(super) requeue_after: Option<Duration>,
}

/// One reconcile, as the controller carries it out.
pub(super) fn reconcile<K: ResourcePlanner + Debug>(model: &mut impl Model<K>) -> Reconciled<K> {
    let (identity, timings, now) = (identity(), model.timings.clone(), model.now);
    let context = StepContext { identity: &identity, timings: &timings, fresh_id: "", now };
    let (object, state) = (model.object.clone(), model.runtime_state.clone());
    let mut run = Run { steps: Steps::new(object, state, context), context };
    let outcome = Outcome::InProgress("interrupted".to_owned());
    let (reads, first, writes, events) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut done = Reconciled { reads, first, writes, iterations: 0, outcome, events, requeue_after: None };
    if !run.until_settled(model, &mut done) {
        // The process was killed: only the stored object survives.
        return done;
    }
    let has_status = done.outcome != Outcome::Finalized || !remaining_finalizers(run.steps.object().meta()).is_empty();
    if has_status {
        run.steps.report(&done.outcome, context);
        let status = run.steps.status();
        condition_invariants::check(&K::core(status).conditions, run.steps.object().meta().generation).unwrap();
        if model.rejects_reports && model.object.status() != Some(status) {
            run.steps.runtime_state.record_failed_store(StoreFailure::Rejected(403));
            let retry = Outcome::InProgress(String::new());
            done.requeue_after = run.steps.requeue_after(&retry, context);
            model.runtime_state = run.steps.runtime_state;
            return done;
        }
        *model.object.status_mut() = Some(status.clone());
        run.steps.replace_object(model.object.clone(), context.identity);
        done.events.extend(run.steps.take_reported_events());
    }
    run.steps.record_outcome(&done.outcome, now, context);
    if has_status {
        done.requeue_after = run.steps.requeue_after(&done.outcome, context);
    }
    model.runtime_state = run.steps.runtime_state;
    done
}

struct Run<'a, K: ResourcePlanner> {
    steps: Steps<K>,
    context: StepContext<'a>,
}

impl<K: ResourcePlanner + Debug> Run<'_, K> {
    /// Runs steps until an outcome. Returns whether the process survived.
    fn until_settled(&mut self, model: &mut impl Model<K>, done: &mut Reconciled<K>) -> bool {
        loop {
            let fresh_id = model.fresh_id();
            match self.steps.next(StepContext { fresh_id: &fresh_id, ..self.context }) {
                Step::Read(reads) => {
                    for read in reads {
                        assert!(!done.reads.contains(&read), "{read:?} is requested twice");
                        model.observe(&read, &mut self.steps.observed);
                        done.reads.push(read);
                    }
                }
                Step::Done(outcome, events) => {
                    done.iterations += 1;
                    done.events.extend(events);
                    done.outcome = outcome;
                    return true;
                }
                Step::Write(plan) => {
                    model.check(self.steps.object(), &plan, &self.steps.observed);
                    done.iterations += usize::from(plan.remote.is_some());
                    let is_finalized = plan.outcome == Outcome::Finalized;
                    if let Some(write) = plan.first {
                        self.write_object(model, write);
                        done.first.push(write);
                        if !model.survives_write() {
                            return false;
                        }
                    }
                    if is_finalized {
                        done.outcome = Outcome::Finalized;
                        done.events.extend(plan.events);
                        return true;
                    }
                    let Some(write) = plan.remote else {
                        done.events.extend(plan.events);
                        continue;
                    };
                    match self.write_remote(model, &write) {
                        None => return false,
                        Some(Ok(events)) => done.events.extend(events.into_iter().chain(plan.events)),
                        Some(Err(Some(outcome))) => {
                            done.writes.push(write);
                            done.outcome = outcome;
                            return true;
                        }
                        Some(Err(None)) => {}
                    }
                    done.writes.push(write);
                }
            }
        }
    }

    fn write_object(&mut self, model: &mut impl Model<K>, write: KubernetesWrite) {
        let object = &mut model.object;
        match write {
            KubernetesWrite::AddFinalizer => {
                object.meta_mut().finalizers.get_or_insert_default().push(FINALIZER.into());
            }
            KubernetesWrite::RemoveFinalizer => {
                object.meta_mut().finalizers.iter_mut().for_each(|all| all.retain(|one| one != FINALIZER));
            }
            KubernetesWrite::StoreStatus => {
                *object.status_mut() = Some(self.steps.status().clone());
                let object = object.clone();
                return self.steps.status_persisted(object, self.context.identity);
            }
        }
        let object = object.clone();
        self.steps.replace_object(object, self.context.identity);
    }

    /// Sends a remote write: its events, or its outcome. None if the process was killed.
    fn write_remote(
        &mut self,
        model: &mut impl Model<K>,
        write: &K::Write,
    ) -> Option<Result<Vec<EventRecord>, Option<Outcome>>> {
        assert!(has_finalizer(self.steps.object().meta()), "a remote write before the finalizer: {write:?}");
        let result = WriteResult {
            result: model.carry_out(write),
            started_at: self.context.now,
            server_started_at: model.server_time(),
        };
        if !model.survives_write() {
            return None;
        }
        if self.steps.apply_write(write, &result, self.context.now) {
            *model.object.status_mut() = Some(self.steps.status().clone());
        }
        Some(match result.result {
            Ok(response) => Ok(self.steps.write_succeeded(write, &response, self.context)),
            Err(error) => Err(write.outcome_of_error(&error, self.context.timings)),
        })
    }
}
