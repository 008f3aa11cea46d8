//! Rules of every kind: suspend, finalizer, invalid spec, deletion, and the report at the end of a reconcile.

use super::conditions::{self, ConditionInput};
use super::messages::list_items;
use super::outcome::{EventRecord, KubernetesWrite, Outcome};
use super::resource::{Plan, PlanInput, ResourcePlanner};
use super::status::{find_condition, remaining_finalizers, requested_reconcile, suspend_annotation};
use crate::api::{ConditionType, Reason, StatusCore};

/// Maximum number of finalizers in a message.
const MAX_SHOWN_FINALIZERS: usize = 3;

/// Part of a message between the result of a deletion and the finalizers of others.
const WAITING_FOR_FINALIZERS: &str = "; waiting for other finalizers: ";

/// The next reads; empty if [`plan`] can decide.
pub(crate) fn required_reads<K: ResourcePlanner>(input: &PlanInput<'_, K>) -> Vec<K::Read> {
    if input.is_deleting() {
        return if input.has_finalizer() { K::deletion_reads(input) } else { Vec::new() };
    }
    let cached = K::cache_reads(input);
    match K::spec(input.desired) {
        Ok(spec) if cached.is_empty() && !input.suspended && input.has_finalizer() => K::required_reads(input, spec),
        _ => cached,
    }
}

/// The next plan.
pub(crate) fn plan<K: ResourcePlanner>(input: &PlanInput<'_, K>) -> Plan<K> {
    if input.is_deleting() {
        return if input.has_finalizer() { K::plan_deletion(input) } else { input.no_op(Outcome::Finalized) };
    }
    let plan = if input.suspended {
        // Before the finalizer: a suspended new object stays untouched.
        input.no_op(Outcome::Suspended)
    } else if !input.has_finalizer() {
        let outcome = Outcome::InProgress("Adding the finalizer".to_owned());
        Plan::kubernetes(input.status.clone(), KubernetesWrite::AddFinalizer, outcome)
    } else {
        match K::spec(input.desired) {
            Ok(spec) => K::plan(input, spec),
            Err(error) => input.no_op(Outcome::Stalled(Reason::InvalidSpec, error.to_owned())),
        }
    };
    let mut plan = K::complete(input, plan);
    if plan.remote.is_some() && input.sources_changed() {
        // If the write fails, the remote side may have the new content. Then the recorded content must be applied again.
        K::core_mut(&mut plan.status).observed_sources.iter_mut().for_each(|source| source.digest = None);
    }
    plan
}

/// The status with the conditions that follow from the outcome of a reconcile, and the events for a change of Ready.
pub(crate) fn report<K: ResourcePlanner>(input: &PlanInput<'_, K>, outcome: &Outcome) -> (K::Status, Vec<EventRecord>) {
    let mut status = input.status.clone();
    let before = K::core(&status).conditions.clone();
    let generation = input.meta.generation.unwrap_or_default();
    let drift = K::drift(input.status);
    let kept = kept_by_others(input).filter(|_| *outcome == Outcome::Finalized);
    let outcome = kept.as_ref().unwrap_or(outcome);
    if !matches!(outcome, Outcome::Finalized | Outcome::Skipped) {
        let condition_input = ConditionInput {
            generation,
            overdue: input.is_overdue(),
            source_change: source_change_message(input),
            in_sync_message: K::in_sync_message(input),
            suspended_by_annotation: suspend_annotation(input.meta).map(str::to_owned),
            repeats_attempt: input.repeats_attempt(),
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
    let transition = conditions::ready_event(&before, &core.conditions);
    let mut events: Vec<EventRecord> = transition.into_iter().collect();
    if let Some(notice) = K::notice(input) {
        conditions::set_ready_message(&mut core.conditions, &notice.message);
        let reported = find_condition(&before, ConditionType::Ready);
        events.extend(Some(notice).filter(|notice| reported.is_none_or(|ready| ready.message != notice.message)));
    }
    (status, events)
}

/// Outcome of a released object that finalizers of others keep.
fn kept_by_others<K: ResourcePlanner>(input: &PlanInput<'_, K>) -> Option<Outcome> {
    let finalizers = remaining_finalizers(input.meta);
    if finalizers.is_empty() {
        return None;
    }
    let ready = find_condition(&K::core(input.status).conditions, ConditionType::Ready);
    // Later reconciles do not observe the deletion.
    let reported = ready.and_then(|ready| ready.message.split_once(WAITING_FOR_FINALIZERS));
    let note = K::deletion_note(input).or(reported.map(|(note, _)| note)).unwrap_or("The operator released the object");
    let finalizers = list_items(finalizers.iter().map(String::as_str), MAX_SHOWN_FINALIZERS);
    Some(Outcome::Terminating(format!("{note}{WAITING_FOR_FINALIZERS}{finalizers}")))
}

/// Message for a change of the referenced object that is not applied yet.
fn source_change_message<K: ResourcePlanner>(input: &PlanInput<'_, K>) -> Option<String> {
    let before = K::core(input.status).observed_sources.first()?;
    match input.sources().first() {
        None => Some(format!("{} \"{}\" was deleted", before.kind, before.name)),
        Some(now) if now.has_same_content(before) || (&now.kind, &now.name) != (&before.kind, &before.name) => None,
        Some(_) => Some(format!("{} \"{}\" has changed and is not applied yet", before.kind, before.name)),
    }
}

#[cfg(test)]
mod tests;
