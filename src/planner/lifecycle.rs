//! What every kind does: suspend, finalizer, invalid spec, deletion, and the report at the end of a reconcile.

use super::conditions::{self, ConditionInput};
use super::plan::{EventRecord, KubernetesWrite, Outcome, Plan, PlanInput};
use super::resource::ResourcePlanner;
use super::schedule;
use super::status::requested_reconcile;
use crate::api::{Reason, StatusCore};

/// The next reads; empty if [`plan`] can decide.
pub(crate) fn required_reads<K: ResourcePlanner>(input: &PlanInput<'_, K>) -> Vec<K::Read> {
    if input.is_deleting() {
        return if input.has_finalizer() { K::deletion_reads(input) } else { Vec::new() };
    }
    let cached = K::cache_reads(input);
    if !cached.is_empty() || !can_reconcile(input) {
        return cached;
    }
    K::required_reads(input)
}

/// Whether an object that is not being deleted is neither suspended nor invalid, and has the finalizer.
fn can_reconcile<K: ResourcePlanner>(input: &PlanInput<'_, K>) -> bool {
    !input.suspended && input.has_finalizer() && K::spec_error(input.desired).is_none()
}

/// The next plan.
pub(crate) fn plan<K: ResourcePlanner>(input: &PlanInput<'_, K>) -> Plan<K> {
    if input.is_deleting() {
        return if input.has_finalizer() {
            K::plan_deletion(input)
        } else {
            Plan::no_op(input.status, Outcome::Finalized)
        };
    }
    let plan = if input.suspended {
        // Before the finalizer: a suspended new object stays untouched.
        Plan::no_op(input.status, Outcome::Suspended)
    } else if !input.has_finalizer() {
        let outcome = Outcome::InProgress("Adding the finalizer".to_owned());
        Plan::kubernetes(input.status.clone(), KubernetesWrite::AddFinalizer, outcome)
    } else if let Some(error) = K::spec_error(input.desired) {
        Plan::no_op(input.status, Outcome::Stalled(Reason::InvalidSpec, error.to_owned()))
    } else {
        K::plan(input)
    };
    K::complete(input, plan)
}

/// What a reconcile leaves behind.
#[derive(Debug, PartialEq)]
pub struct Report<S> {
    /// Status to store, if it differs from the stored one.
    pub status: S,
    /// Events for transitions of Ready.
    pub events: Vec<EventRecord>,
    /// Delay until the next reconcile, unless an event triggers one before.
    pub requeue_after: Option<std::time::Duration>,
}

/// Computes the conditions, the events for transitions, and the time of the next reconcile. Runs once, whatever the
/// outcome is.
pub(crate) fn report<K: ResourcePlanner>(input: &PlanInput<'_, K>, outcome: &Outcome) -> Report<K::Status> {
    let mut status = input.status.clone();
    let before = K::core(&status).conditions.clone();
    let generation = input.meta.generation.unwrap_or_default();
    let drift = K::drift(input.status);
    if !matches!(outcome, Outcome::Finalized | Outcome::Skipped) {
        let condition_input = ConditionInput {
            generation,
            overdue: schedule::is_overdue(input.runtime_state, input.interval(), input.timings, input.now),
            source_change: source_change_message(input),
            in_sync_message: K::in_sync_message(input),
            now: input.now,
        };
        let StatusCore { conditions, observed_generation, .. } = K::core_mut(&mut status);
        *conditions = conditions::compute_conditions(&before, outcome, &condition_input);
        *observed_generation = generation;
        conditions::set_drifted(conditions, &before, generation, drift, input.now);
    }
    let core = K::core_mut(&mut status);
    if matches!(outcome, Outcome::InSync | Outcome::Stalled(..) | Outcome::WriteFailed(..)) {
        core.last_handled_reconcile_at = requested_reconcile(input.meta).map(str::to_owned);
    }
    let events = conditions::ready_event(&before, &core.conditions).into_iter().collect();
    Report { status, events, requeue_after: schedule::requeue_after(input, outcome) }
}

/// Message for a change of the referenced object that is not applied yet.
fn source_change_message<K: ResourcePlanner>(input: &PlanInput<'_, K>) -> Option<String> {
    let (now, before) = (K::sources(input), K::core(input.status).observed_sources.first()?);
    match now.first() {
        None => Some(format!("{} \"{}\" was deleted", before.kind, before.name)),
        Some(now) if now == before || (&now.kind, &now.name) != (&before.kind, &before.name) => None,
        Some(_) => Some(format!("{} \"{}\" has changed and is not applied yet", before.kind, before.name)),
    }
}
