//! Deletion of an app. Reads only ID, name, intent, references, policy and finalizers, so that an object with an
//! invalid spec can be deleted.

use jiff::Timestamp;

use super::absence::{AbsenceCheck, absence};
use super::input::{AppInput, AppRead, binding_mismatch, min_read_time, organization_wait, read_failed};
use super::locate;
use super::owner_tags::plan_set_owner_tags;
use super::ownership::{is_reactivated_foreign, record_app, recorded_id, was_created};
use super::write::AppWrite;
use crate::api::{DeletionPolicy, Reason, SpiceApp, SpiceAppStatus};
use crate::management::types::{App, AppField, UpdateApp};
use crate::planner::messages::list_items;
use crate::planner::observation::{Observation, Observed};
use crate::planner::outcome::{EventRecord, KubernetesWrite, Outcome, Retry};
use crate::planner::remote_app::{AppList, INCARNATION_TAG, OWNER_TAG, Ownership, has_name};
use crate::planner::resource::Plan;
use crate::planner::schedule;

/// Maximum number of names of secrets in a message.
const MAX_SHOWN_SECRETS: usize = 16;

pub(super) fn required_reads(input: &AppInput<'_>) -> Vec<AppRead> {
    let observed = input.observed;
    if has_no_remote_state(input) {
        return Vec::new();
    }
    if observed.secrets.is_none() {
        return vec![AppRead::Secrets];
    }
    if can_remove_finalizer(input) || (retains_app(input) && blocked_by_secrets(input).is_some()) {
        return Vec::new();
    }
    let can_use_organization = organization_wait(input).is_none() && binding_mismatch(input).is_none();
    if let Some(id) = app_to_untag(input) {
        return match (&observed.organization, &observed.app) {
            (None, _) => vec![AppRead::Organization],
            (Some(_), None) if can_use_organization => vec![AppRead::App(id, min_read_time(input))],
            _ => Vec::new(),
        };
    }
    if observed.organization.is_none() || observed.crd_terminating.is_none() {
        return vec![AppRead::CrdTerminating, AppRead::Organization];
    }
    if !can_use_organization || observed.crd_terminating != Some(Observed::Present(false)) {
        return Vec::new();
    }
    let list = AppRead::List(min_read_time(input));
    match recorded_id(input.status) {
        Some(id) if observed.app.is_none() => vec![AppRead::App(id, min_read_time(input))],
        Some(_) if observed.app == Some(Observed::Absent) && observed.list.is_none() => vec![list, AppRead::Siblings],
        None if observed.list.is_none() => vec![list],
        _ => Vec::new(),
    }
}

pub(super) fn plan(input: &AppInput<'_>) -> Plan<SpiceApp> {
    if can_remove_finalizer(input) {
        return release_kept(input);
    }
    if let Some(outcome) = blocked_by_secrets(input).filter(|_| retains_app(input)) {
        return input.no_op(outcome);
    }
    if app_to_untag(input).is_some() {
        return plan_untag(input);
    }
    match &input.observed.crd_terminating {
        // The deletion of the CustomResourceDefinition deletes every object, which is no request to delete apps.
        Some(Observed::Present(true) | Observed::Absent) => return input.release(),
        Some(Observed::Unknown(error)) => return input.no_op(read_failed(error)),
        Some(Observed::Present(false)) | None => {}
    }
    if let Some(Outcome::WaitingForDependency(reason, message)) = organization_wait(input) {
        return input.no_op(Outcome::WriteFailed(reason, message, Retry::Backoff));
    }
    if let Some(message) = binding_mismatch(input) {
        return input.no_op(Outcome::WriteFailed(Reason::OrganizationMismatch, message, Retry::Backoff));
    }
    match (recorded_id(input.status), &input.observed.app, &input.observed.list) {
        (Some(_), Some(Observed::Present(app)), _) => plan_present(input, app),
        (Some(id), Some(Observed::Absent), Some(_)) => plan_absent(input, id),
        (Some(_), Some(Observed::Unknown(error)), _) | (_, _, Some(Observed::Unknown(error))) => {
            input.no_op(read_failed(error))
        }
        (None, _, Some(Observed::Present(list))) => plan_unrecorded(input, list),
        _ => input.no_op(Outcome::Terminating("Looking for the app".to_owned())),
    }
}

/// Sentence about the app, if this reconcile deleted the app or confirmed its absence.
pub(super) fn deletion_note(input: &AppInput<'_>) -> Option<&'static str> {
    let is_absent = input.observed.app == Some(Observed::Absent) && input.status.id.is_none();
    (input.observed.deleted || is_absent).then_some("The app is deleted remotely")
}

/// Returns true if the operator owns nothing remote for this object.
fn has_no_remote_state(input: &AppInput<'_>) -> bool {
    let has_no_app = recorded_id(input.status).is_none() && input.status.create_intent.is_none();
    has_no_app || input.desired.observe_only
}

/// Returns true if the finalizer can be removed without a remote call.
fn can_remove_finalizer(input: &AppInput<'_>) -> bool {
    let stays = retains_app(input) && blocked_by_secrets(input).is_none() && app_to_untag(input).is_none();
    has_no_remote_state(input) || stays
}

/// Outcome that waits for SpiceSecrets of the app: for terminating SpiceSecrets until their end, and for a limited time
/// for the deletion of the others. Clients delete the objects of one file in any order. An app that stays does not wait
/// for a stuck SpiceSecret.
fn blocked_by_secrets(input: &AppInput<'_>) -> Option<Outcome> {
    let secrets = input.observed.secrets.as_ref().filter(|_| !is_retained_since_deletion(input))?;
    let waiting = |message| Some(Outcome::WaitingForDependency(Reason::DependencyNotReady, message));
    let names = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        list_items(names.iter().map(String::as_str), 1)
    };
    let are_stuck = retains_app(input) && secrets.stuck > 0;
    if !secrets.terminating.is_empty() && !are_stuck {
        return waiting(format!("Waiting for the deletion of SpiceSecret {}", names(&secrets.terminating)));
    }
    wait_until(input)?;
    let limit = schedule::display_duration(input.timings.dependent_deletion_wait);
    waiting(format!("Waiting up to {limit} for a deletion of SpiceSecret {}", names(&secrets.remaining)))
}

/// End of the limited wait for the deletion of SpiceSecrets, if the wait has not ended.
pub(super) fn wait_until(input: &AppInput<'_>) -> Option<Timestamp> {
    let deleted_at = input.meta.deletion_timestamp.as_ref()?.0;
    let has_remaining = input.observed.secrets.as_ref().is_some_and(|secrets| !secrets.remaining.is_empty());
    let end = deleted_at.checked_add(input.timings.dependent_deletion_wait).ok()?;
    (has_remaining && input.now < end).then_some(end)
}

/// Returns true if the app stays, and a user changed the spec after this process observed the deletion. The object is then
/// released without a wait and without a request, because a user sets Retain to end a deletion now.
fn is_retained_since_deletion(input: &AppInput<'_>) -> bool {
    retains_app(input) && input.meta.generation > input.runtime_state.deletion_generation
}

/// Releases an object whose app stays, and names the secrets that stay in the app.
fn release_kept(input: &AppInput<'_>) -> Plan<SpiceApp> {
    let managed = input.observed.secrets.iter().flat_map(|secrets| &secrets.managed);
    let names = list_items(managed.map(String::as_str), MAX_SHOWN_SECRETS);
    let event = recorded_id(input.status).filter(|_| !names.is_empty()).map(|id| {
        let message = format!("App {id} is kept with the secrets that SpiceSecrets have set: {names}");
        EventRecord::warning("Delete", "SecretsKept", message)
    });
    Plan { events: event.into_iter().collect(), ..input.release() }
}

/// Returns true if the app stays.
fn retains_app(input: &AppInput<'_>) -> bool {
    match input.desired.deletion_policy {
        Some(DeletionPolicy::Retain) => true,
        Some(DeletionPolicy::Delete) => false,
        None => !was_created(input.status),
    }
}

/// ID of an app that stays and whose owner tags the operator removes. Tried once, and not after a failed deletion: a
/// user then sets Retain to delete the object now.
fn app_to_untag(input: &AppInput<'_>) -> Option<i64> {
    let has_tags = input.status.tags_unsupported != Some(true) && !input.observed.owner_tags_removed;
    let is_first_attempt = input.runtime_state.failures == 0 && !is_retained_since_deletion(input);
    recorded_id(input.status).filter(|_| retains_app(input) && has_tags && is_first_attempt)
}

fn plan_untag(input: &AppInput<'_>) -> Plan<SpiceApp> {
    let Some(Observed::Present(read)) = &input.observed.app else { return release_kept(input) };
    let app = &read.value;
    if Ownership::of(app, &input.desired.owner) != Ownership::Own || !has_name(app, &input.desired.name) {
        return release_kept(input);
    }
    let mut tags = app.tags().clone();
    tags.retain(|key, _| key != OWNER_TAG && key != INCARNATION_TAG);
    let body = UpdateApp([(AppField::Tags, serde_json::json!(tags).into())].into());
    let write = AppWrite::RemoveOwnerTags { id: app.id, based_on: read.started_at, body };
    Plan::remote(input.status.clone(), write, format!("Removing the owner tags from app {}", app.id))
}

fn plan_present(input: &AppInput<'_>, read: &Observation<App>) -> Plan<SpiceApp> {
    let app = &read.value;
    let can_restore_tags = !input.observed.owner_tags_restored
        && !input.observed.tags_rejected
        && input.status.tags_unsupported != Some(true);
    match Ownership::of(app, &input.desired.owner) {
        _ if !has_name(app, &input.desired.name) => input.release(),
        Ownership::Foreign if !is_reactivated_foreign(input.status, app) => input.release(),
        Ownership::Own => plan_delete(input, read),
        // The owner tag is restored first, so that the delete is based on a read that showed the tag.
        Ownership::Foreign | Ownership::Unowned if can_restore_tags => {
            plan_set_owner_tags(input, read, input.status.clone())
        }
        // The organization keeps no tags: the recorded ID counts.
        Ownership::Foreign | Ownership::Unowned => plan_delete(input, read),
    }
}

fn plan_absent(input: &AppInput<'_>, id: i64) -> Plan<SpiceApp> {
    match absence(input, id) {
        AbsenceCheck::Confirmed => {
            let status = SpiceAppStatus { id: None, create_intent: None, ..input.status.clone() };
            Plan { status, ..input.release() }
        }
        AbsenceCheck::MassAbsence(message) => {
            input.no_op(Outcome::WriteFailed(Reason::OrganizationMismatch, message, Retry::Backoff))
        }
        AbsenceCheck::Inconclusive(_) if input.is_within_settle_period() => {
            input.no_op(Outcome::Terminating(format!("Waiting until the absence of app {id} is certain")))
        }
        AbsenceCheck::Inconclusive(outcome) => input.no_op(outcome),
    }
}

/// Plans an object with an intent and no ID: the create may have taken effect, or may still do.
fn plan_unrecorded(input: &AppInput<'_>, list: &AppList) -> Plan<SpiceApp> {
    let is_own = |app: &&App| match Ownership::of(app, &input.desired.owner) {
        Ownership::Own => true,
        Ownership::Unowned => locate::matches_create_intent(input, app),
        Ownership::Foreign => false,
    };
    let found = list.value.named(&input.desired.name).find(is_own);
    if let Some(app) = found {
        // The list may be older than a write by ID allows: the app itself is read next.
        let mut status = input.status.clone();
        record_app(&mut status, input.observed, app);
        let outcome = Outcome::Terminating(format!("Found app {}", app.id));
        return Plan::kubernetes(status, KubernetesWrite::StoreStatus, outcome);
    }
    // Counted from the last time at which the request may have been sent, by this process or an earlier one, to the
    // start of the list.
    // A time in the future, after the clock was set back, must not extend the wait.
    let intent = input.status.create_intent.as_ref().map(|intent| intent.at.0.min(input.now));
    let state = input.runtime_state;
    let sent_at = intent.map(|at| at.max(state.first_seen_at).max(state.last_write.unwrap_or(at)));
    let timeout = input.timings.create_confirmation_timeout;
    if sent_at.is_none_or(|at| schedule::elapsed(at, list.started_at) >= timeout) {
        return input.release();
    }
    let timeout = schedule::display_duration(timeout);
    let message = format!("Waiting up to {timeout} for an unconfirmed create to appear in the app list");
    input.no_op(Outcome::Terminating(message))
}

fn plan_delete(input: &AppInput<'_>, read: &Observation<App>) -> Plan<SpiceApp> {
    if let Some(outcome) = blocked_by_secrets(input) {
        return input.no_op(outcome);
    }
    let (id, based_on) = (read.value.id, read.started_at);
    let events = vec![EventRecord::normal("Delete", "Deleted", format!("Deleted app {id}"))];
    let write = AppWrite::Delete { id, based_on };
    Plan { events, ..Plan::remote(input.status.clone(), write, format!("Deleting app {id}")) }
}
