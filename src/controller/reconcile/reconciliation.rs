//! One reconcile: observe, plan, act, report. The planner's steps decide; this file carries the steps out.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::{Error, ResourceExt};
use tracing::Instrument;

use super::persist::{self, StoreError, persist_external_state, status_not_stored};
use super::reconciler::{CarryOut, Reconciler};
use super::undecodable;
use crate::api::{ConditionType, FINALIZER};
use crate::controller::cluster::cache::{cache_contains, is_current};
use crate::controller::cluster::call::format_kube_error;
use crate::controller::cluster::counters::{PANIC, STORE_ERROR, UNDECODABLE, result_label};
use crate::controller::cluster::work_queue::{self, ReconcileRequests, RequeueAfter};
use crate::controller::cluster::writer::WriteFailure;
use crate::controller::state::context::Context;
use crate::management::Priority;
use crate::management::types::ErrorKind;
use crate::planner::{
    EventRecord, KubernetesWrite, Outcome, Plan, RemoteWrite, Step, StepContext, Steps, finalizer_rejected,
    find_condition, remaining_finalizers,
};

/// Reconciles objects as requested, until shutdown; then waits for the running reconciles.
pub(in crate::controller) async fn run<K: Reconciler>(
    context: Arc<Context>,
    requests: ReconcileRequests<DeserializeGuard<K>>,
) {
    let (cache, shutdown) = (K::state(&context).cache.clone(), context.shutdown.clone());
    work_queue::run(requests, cache, context, shutdown, reconcile::<K>).await;
}

async fn reconcile<K: Reconciler>(object: Arc<DeserializeGuard<K>>, context: Arc<Context>) -> RequeueAfter {
    let (namespace, name) = (object.namespace(), object.name_any());
    let span = tracing::info_span!("reconcile", kind = K::NAME, namespace, name);
    let started_at = Instant::now();
    let reconcile = async {
        match &object.0 {
            Ok(decoded) => Reconciliation::begin(&context, decoded).run().await,
            Err(invalid) => reconcile_undecodable::<K>(&context, &object, &invalid.metadata).await,
        }
    };
    // A bug that one object triggers must not end the reconciles of all others. The panic itself is on stderr.
    let result = AssertUnwindSafe(reconcile.instrument(span)).catch_unwind().await;
    let (result, requeue_after) = result.unwrap_or_else(|_| {
        tracing::error!(kind = K::NAME, namespace, name, "Reconcile panicked (bug)");
        (Some(PANIC), Some(context.settings.timings.max_retry_delay))
    });
    if let Some(result) = result {
        context.counters.reconciled(K::NAME, result, started_at.elapsed());
    }
    requeue_after
}

/// Result label of a reconcile, none if it was aborted; and the delay until the next one.
type Finished = (Option<&'static str>, RequeueAfter);

/// Reconciles an object that the watch could not decode.
async fn reconcile_undecodable<K: Reconciler>(
    context: &Context,
    object: &DeserializeGuard<K>,
    meta: &ObjectMeta,
) -> Finished {
    match Box::pin(undecodable::recover_or_report(context, object, meta)).await {
        Ok(recovered) => Reconciliation::begin(context, recovered.as_ref()).run().await,
        Err(retry_after) => (Some(UNDECODABLE), Some(retry_after)),
    }
}

/// One reconcile of one object.
struct Reconciliation<'a, K: Reconciler> {
    context: &'a Context,
    /// Boxed: the future of a reconcile would contain the steps twice.
    steps: Box<Steps<K>>,
}

impl<'a, K: Reconciler> Reconciliation<'a, K> {
    fn begin(context: &'a Context, found: &K) -> Self {
        let (state, object) = K::state(context).object_states.load(found, Timestamp::now());
        Self { context, steps: Box::new(Steps::new(object, state, context.step_context())) }
    }

    async fn run(mut self) -> Finished {
        let started_at = Timestamp::now();
        // The response to the last report may have been lost.
        self.publish_stored_report();
        let result = match self.run_steps().await {
            Ok(Some(outcome)) => self.report(&outcome, started_at).await,
            // An aborted reconcile has no outcome.
            Ok(None) => Ok((None, None)),
            Err(error) => Err(error),
        };
        // The effects of remote writes must be stored, also if the reconcile was aborted or failed.
        let persisted = if self.steps.is_unpersisted() { self.persist().await } else { Ok(()) };
        let finished = match (result, persisted) {
            (Ok(finished), Ok(())) => finished,
            (Err(error), _) | (_, Err(error)) => self.store_failed(&error).await,
        };
        self.save_runtime_state();
        finished
    }

    /// Carries steps out until one ends the reconcile. None if the operator shuts down or the object changes.
    async fn run_steps(&mut self) -> Result<Option<Outcome>, StoreError> {
        loop {
            // A change of the object has requested a reconcile of its own.
            if self.should_abort() {
                return Ok(None);
            }
            let fresh_id = uuid::Uuid::new_v4().simple().to_string();
            let step = self.steps.next(StepContext { fresh_id: &fresh_id, ..self.context.step_context() });
            match step {
                Step::Read(reads) => self.observe(&reads).await,
                Step::Write(plan) => {
                    if let Some(outcome) = self.act(plan).await? {
                        return Ok(Some(outcome));
                    }
                }
                Step::Done(outcome, events) => {
                    self.context.events.publish(self.steps.object(), events);
                    return Ok(Some(outcome));
                }
            }
        }
    }

    /// Returns true if the operator shuts down, or the object changed.
    fn should_abort(&self) -> bool {
        let cache = &K::state(self.context).cache;
        self.context.shutdown.is_cancelled() || !is_current(cache, self.steps.object())
    }

    async fn observe(&mut self, reads: &[K::Read]) {
        let priority = self.priority();
        for read in reads {
            if self.should_abort() {
                return;
            }
            let (object, observed) = self.steps.object_and_observed();
            K::observe(self.context, object, read, priority, observed).await;
        }
    }

    /// Carries a plan out. Returns an outcome if the reconcile ends with it.
    async fn act(&mut self, plan: Plan<K>) -> Result<Option<Outcome>, StoreError> {
        // The steps hold the status too; a write that waits for its permit needs one copy only.
        let Plan { first, remote, outcome, events, status: _ } = plan;
        if let Some(write) = first
            && let Some(outcome) = self.write_object(write).await?
        {
            return Ok(Some(outcome));
        }
        let is_finalized = outcome == Outcome::Finalized;
        let Some(write) = remote.filter(|_| !is_finalized) else {
            self.context.events.publish(self.steps.object(), events);
            return Ok(is_finalized.then_some(Outcome::Finalized));
        };
        self.write_remote(&write, events).await
    }

    /// Writes to the object itself. Returns an outcome if the object no longer exists, or if the apiserver refuses the
    /// finalizer.
    async fn write_object(&mut self, write: KubernetesWrite) -> Result<Option<Outcome>, StoreError> {
        let is_present = match write {
            KubernetesWrite::AddFinalizer => true,
            KubernetesWrite::RemoveFinalizer => false,
            KubernetesWrite::StoreStatus => return self.store_status().await.map(|()| None),
        };
        let context = self.context;
        match context.writer.set_finalizer(self.steps.object(), FINALIZER, is_present).await {
            Ok(object) => {
                self.steps.replace_object(object, &context.settings.identity);
                Ok(None)
            }
            // The apiserver removed the finalizer of an object whose spec cannot be decoded.
            Err(Error::SerdeError(_)) if !is_present => Ok(Some(Outcome::Finalized)),
            Err(error) => match context.writer.failure(self.steps.object(), &error).await {
                WriteFailure::Gone if !is_present => Ok(Some(Outcome::Finalized)),
                WriteFailure::Refused => Ok(Some(finalizer_rejected(write, &format_kube_error(&error)))),
                WriteFailure::Gone | WriteFailure::Outdated | WriteFailure::Unavailable => Err(error.into()),
            },
        }
    }

    async fn store_status(&mut self) -> Result<(), StoreError> {
        let stored = persist::store_status(self.context, self.steps.object(), self.steps.status()).await?;
        self.status_stored(stored);
        Ok(())
    }

    /// Continues with the version of the object that a status write returned.
    fn status_stored(&mut self, stored: K) {
        self.steps.status_persisted(stored, &self.context.settings.identity);
        self.publish_stored_report();
    }

    /// Publishes and logs the transitions of the last report if the object has its conditions.
    fn publish_stored_report(&mut self) {
        let events = self.steps.take_reported_events();
        events.iter().for_each(|event| self.log_transition(event));
        self.context.events.publish(self.steps.object(), events);
    }

    /// Sends a remote write. Returns an outcome if the reconcile ends with it.
    async fn write_remote(
        &mut self,
        write: &K::Write,
        events: Vec<EventRecord>,
    ) -> Result<Option<Outcome>, StoreError> {
        let context = self.context;
        let result = write.carry_out(context, self.steps.object(), self.priority()).await;
        if self.steps.apply_write(write, &result, Timestamp::now()) {
            self.persist().await?;
        }
        let operation = write.operation();
        match result.result {
            Ok(response) => {
                tracing::info!(operation, "Management API request succeeded");
                let more = self.steps.write_succeeded(write, &response, context.step_context());
                context.events.publish(self.steps.object(), more.into_iter().chain(events).collect());
                Ok(None)
            }
            // The change has requested a reconcile, which plans again. A failed request still counts as a failure.
            Err(error) if self.should_abort() => {
                if error.kind != ErrorKind::Cancelled {
                    self.steps.runtime_state.failures = self.steps.runtime_state.failures.saturating_add(1);
                }
                tracing::debug!(operation, error = %error, "Management API request aborted");
                Ok(None)
            }
            Err(error) => {
                let error_kind = error.label();
                tracing::warn!(operation, error_kind, error = %error, "Management API request failed");
                Ok(write.outcome_of_error(&error, &context.settings.timings))
            }
        }
    }

    /// Reports an outcome in status, and records the outcome when the status is stored. A released object has a status
    /// only if another finalizer keeps the object.
    async fn report(&mut self, outcome: &Outcome, started_at: Timestamp) -> Result<Finished, StoreError> {
        let (context, label) = (self.context, result_label(outcome));
        if *outcome == Outcome::Finalized && remaining_finalizers(self.steps.object().meta()).is_empty() {
            self.steps.record_outcome(outcome, started_at, context.step_context());
            self.steps.discard_unpersisted();
            return Ok((Some(label), None));
        }
        let step_context = context.step_context();
        self.steps.report(outcome, step_context);
        if self.steps.object().status() == Some(self.steps.status()) {
            self.steps.discard_unpersisted();
        } else {
            self.store_status().await?;
        }
        self.steps.record_outcome(outcome, started_at, step_context);
        let requeue_after = self.steps.requeue_after(outcome, step_context);
        let requeue_after_ms = requeue_after.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        tracing::debug!(result = label, requeue_after_ms, "Reconcile finished");
        Ok((Some(label), requeue_after))
    }

    /// Logs a change of Ready.
    fn log_transition(&self, event: &EventRecord) {
        let EventRecord { warning, reason, message, .. } = event;
        let stored = self.steps.object().status();
        let ready = stored.and_then(|status| find_condition(&K::core(status).conditions, ConditionType::Ready));
        let status = ready.map(|ready| ready.status.as_str());
        if *warning {
            tracing::warn!(status, reason, ready_message = message, "Ready condition changed");
        } else {
            tracing::info!(status, reason, ready_message = message, "Ready condition changed");
        }
    }

    /// Ends the reconcile after a failed write to the object. Each failure delays the next reconcile. The first failure
    /// of a kind is logged and, because no condition can be stored, published as an event.
    async fn store_failed(&mut self, error: &StoreError) -> Finished {
        let outcome = Outcome::InProgress(String::new());
        let mut result = STORE_ERROR;
        let cause = error.cause(self.context, self.steps.object()).await;
        if matches!(cause, WriteFailure::Gone | WriteFailure::Outdated) {
            result = result_label(&outcome);
            tracing::debug!("Object changed during the reconcile; reconciling again");
        } else if self.steps.runtime_state.record_failed_store(error.failure()) {
            tracing::warn!(%error, "Failed to store status");
            if cause == WriteFailure::Refused {
                self.context.events.publish(self.steps.object(), vec![status_not_stored(&error.to_string())]);
            }
        } else {
            tracing::debug!(%error, "Failed to store status again");
        }
        (Some(result), self.steps.requeue_after(&outcome, self.context.step_context()))
    }

    /// Stores the external state. After an error, only the next reconcile tries again.
    async fn persist(&mut self) -> Result<(), StoreError> {
        // Boxed: rarely runs, and every reconcile would need memory for it.
        let result = Box::pin(persist_external_state(self.context, self.steps.object(), self.steps.status())).await;
        self.steps.discard_unpersisted();
        if let Some(stored) = result? {
            self.status_stored(stored);
        }
        Ok(())
    }

    /// Saves the in-memory state of the object, unless the watch has seen its deletion.
    fn save_runtime_state(self) {
        let kind = K::state(self.context);
        let (object, state) = self.steps.into_parts();
        if cache_contains(&kind.cache, &object) {
            kind.object_states.save(&object, state);
            K::after_reconcile(self.context, &object);
        } else {
            kind.object_states.forget(object.meta().uid.as_ref());
        }
    }

    /// Priority in the request queue: a user waits for everything but a resync.
    fn priority(&self) -> Priority {
        self.steps.with_input(self.context.step_context(), |input| match () {
            () if input.is_deleting() => Priority::Delete,
            () if (input.is_ready() && K::is_up_to_date(input)) || input.is_ready_unknown() => Priority::Check,
            () => Priority::Edit,
        })
    }
}

#[cfg(test)]
mod lookup_tests;
#[cfg(test)]
mod tests;
