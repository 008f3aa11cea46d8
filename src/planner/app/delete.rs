//! An app that is no longer wanted. Reads only id, name, intent, references, policy and finalizers, so that an object
//! with an invalid spec can be deleted too.

use super::super::{EventRecord, schedule};
use super::locate;
use super::update::marked;
use super::*;
use crate::api::DeletionPolicy;

type AppInput<'a> = PlanInput<'a, SpiceApp>;

pub(super) fn required_reads(input: &AppInput<'_>) -> Vec<AppRead> {
    let observed = input.observed;
    if !input.has_finalizer() || has_nothing(input) {
        return Vec::new();
    }
    if observed.secrets.is_none() {
        return vec![AppRead::Secrets];
    }
    if releases_at_once(input) || (retains(input) && blocked_by_secrets(input).is_some()) {
        return Vec::new();
    }
    if let Some(id) = kept(input) {
        return match (&observed.organization, &observed.app) {
            (None, _) => vec![AppRead::Organization],
            (Some(_), None) if unusable(input).is_none() && mismatch(input).is_none() => {
                vec![AppRead::App(id, pending_since(input))]
            }
            _ => Vec::new(),
        };
    }
    if observed.organization.is_none() || observed.crd_terminating.is_none() {
        return vec![AppRead::CrdTerminating, AppRead::Organization];
    }
    if unusable(input).is_some()
        || mismatch(input).is_some()
        || observed.crd_terminating != Some(Observed::Present(false))
    {
        return Vec::new();
    }
    let list = AppRead::List(pending_since(input));
    match recorded(input.status) {
        Some(id) if observed.app.is_none() => vec![AppRead::App(id, pending_since(input))],
        Some(_) if observed.app == Some(Observed::Absent) && observed.list.is_none() => vec![list, AppRead::Siblings],
        None if observed.list.is_none() => vec![list],
        _ => Vec::new(),
    }
}

pub(super) fn plan(input: &AppInput<'_>) -> Plan<SpiceApp> {
    let no_op = |outcome| Plan::no_op(input.status, outcome);
    if !input.has_finalizer() {
        return no_op(Outcome::Finalized);
    }
    if releases_at_once(input) {
        return release(input);
    }
    if let Some(outcome) = blocked_by_secrets(input).filter(|_| retains(input)) {
        return no_op(outcome);
    }
    if kept(input).is_some() {
        return plan_kept(input);
    }
    match &input.observed.crd_terminating {
        // With the definition every object goes: nobody asked for the apps themselves to go.
        Some(Observed::Present(true) | Observed::Absent) => return release(input),
        Some(Observed::Unknown(error)) => return no_op(read_failed(error)),
        Some(Observed::Present(false)) | None => {}
    }
    if let Some(Outcome::WaitingForDependency(reason, message)) = unusable(input) {
        return no_op(Outcome::WriteFailed(reason, message, Retry::Backoff));
    }
    if let Some(message) = mismatch(input) {
        return no_op(Outcome::WriteFailed(Reason::OrganizationMismatch, message, Retry::Backoff));
    }
    match (recorded(input.status), &input.observed.app, &input.observed.list) {
        (Some(_), Some(Observed::Present(seen)), _) => plan_present(input, seen),
        (Some(id), Some(Observed::Absent), Some(_)) => match absence(input, id) {
            AbsenceCheck::Confirmed => release(input),
            AbsenceCheck::MassAbsence(message) => {
                no_op(Outcome::WriteFailed(Reason::OrganizationMismatch, message, Retry::Backoff))
            }
            // Right after a write of our own, neither shows for certain what is there.
            AbsenceCheck::Inconclusive(_) if input.is_within_settle_period() => {
                no_op(Outcome::Terminating(format!("waiting until the absence of app {id} is certain")))
            }
            AbsenceCheck::Inconclusive(outcome) => no_op(outcome),
        },
        (Some(_), Some(Observed::Unknown(error)), _) | (_, _, Some(Observed::Unknown(error))) => {
            no_op(read_failed(error))
        }
        (None, _, Some(Observed::Present(list))) => plan_unrecorded(input, list),
        _ => no_op(Outcome::Terminating("looking for the app".to_owned())),
    }
}

/// Whether nothing remote is to be done, or could have been.
fn releases_at_once(input: &AppInput<'_>) -> bool {
    has_nothing(input) || (retains(input) && blocked_by_secrets(input).is_none() && kept(input).is_none())
}

/// Whether nothing remote is ours.
fn has_nothing(input: &AppInput<'_>) -> bool {
    let untouched = recorded(input.status).is_none() && input.status.create_intent.is_none();
    untouched || input.desired.observes
}

/// What has to go before the app. An app that stays does not wait for what is held up by something: whoever sets Retain
/// wants it gone.
fn blocked_by_secrets(input: &AppInput<'_>) -> Option<Outcome> {
    let secrets = input.observed.secrets.as_ref()?;
    let first = secrets.going.first().filter(|_| !retains(input) || secrets.stuck == 0)?;
    let more = match secrets.going.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(Outcome::WaitingForDependency(
        Reason::DependencyNotReady,
        format!("waiting for SpiceSecret {first}{more} to go first"),
    ))
}

/// Whether the app stays.
fn retains(input: &AppInput<'_>) -> bool {
    match input.desired.deletion_policy {
        Some(DeletionPolicy::Retain) => true,
        Some(DeletionPolicy::Delete) => false,
        None => !created(input.status),
    }
}

/// The id of an app that stays and that our tag is to be taken from. Tried once, and not by an object whose deletion is
/// held up by something: whoever sets Retain then wants it gone.
fn kept(input: &AppInput<'_>) -> Option<i64> {
    let tagged = input.status.tags_unsupported != Some(true) && !input.observed.owner_tags_removed;
    recorded(input.status).filter(|_| retains(input) && tagged && input.runtime_state.failures == 0)
}

fn plan_kept(input: &AppInput<'_>) -> Plan<SpiceApp> {
    let Some(Observed::Present(seen)) = &input.observed.app else { return release(input) };
    let app = &seen.value;
    if owner(app, input.desired) != Ownership::Own || !same_name(app, input.desired) {
        return release(input);
    }
    let mut tags = app.tags();
    tags.retain(|key, _| key != OWNER_TAG && key != INCARNATION_TAG);
    let body = UpdateApp([(AppField::Tags, serde_json::json!(tags))].into());
    let write = AppWrite::RemoveOwnerTags { id: app.id, based_on: seen.started_at, body };
    Plan::remote(input.status.clone(), write, "taking our tag off the app")
}

fn plan_present(input: &AppInput<'_>, seen: &Observation<App>) -> Plan<SpiceApp> {
    let app = &seen.value;
    match owner(app, input.desired) {
        _ if !same_name(app, input.desired) => release(input),
        Ownership::Foreign if !came_back(input.status, app) => release(input),
        Ownership::Own => delete(input, seen),
        // Our tag is gone, or never was on what our create has brought back: it is put there first, so that the delete rests
        // on an answer that showed it.
        Ownership::Foreign | Ownership::Unowned
            if !input.observed.retagged
                && !input.observed.tags_refused
                && input.status.tags_unsupported != Some(true) =>
        {
            marked(input, seen, input.status.clone())
        }
        // The organization takes no tags: then the recorded id counts.
        Ownership::Foreign | Ownership::Unowned => delete(input, seen),
    }
}

/// An intent and no id: the create may have taken effect, or may still.
fn plan_unrecorded(input: &AppInput<'_>, list: &Observation<Arc<Vec<App>>>) -> Plan<SpiceApp> {
    let ours = |app: &&App| match owner(app, input.desired) {
        Ownership::Own => true,
        Ownership::Unowned => locate::explained_by_intent(input, app),
        Ownership::Foreign => false,
    };
    let found = list.value.iter().filter(|app| same_name(app, input.desired)).find(ours);
    if let Some(app) = found {
        // The list may be older than what a write by id may rest on: the app itself is read next.
        let mut status = input.status.clone();
        attach(&mut status, input.observed, app);
        let outcome = Outcome::Terminating(format!("found app {}", app.id));
        return Plan::kubernetes(status, KubernetesWrite::StoreStatus, outcome);
    }
    // From the last moment at which the request may have left: it may have waited long for its turn, in this process or
    // in one before. To the begin of the list: one from before says nothing of what took effect since.
    let intent = input.status.create_intent.as_ref().map(|intent| intent.at.0);
    let left = intent.map(|at| at.max(input.runtime_state.since).max(input.runtime_state.last_write.unwrap_or(at)));
    let settled =
        left.is_none_or(|at| schedule::elapsed(at, list.started_at) >= input.timings.create_confirmation_timeout);
    if settled {
        return release(input);
    }
    let message = "waiting until a create that was begun can no longer take effect".to_owned();
    Plan::no_op(input.status, Outcome::Terminating(message))
}

fn delete(input: &AppInput<'_>, seen: &Observation<App>) -> Plan<SpiceApp> {
    if let Some(outcome) = blocked_by_secrets(input) {
        return Plan::no_op(input.status, outcome);
    }
    let (id, based_on) = (seen.value.id, seen.started_at);
    let events = vec![EventRecord::normal("Deleted", format!("deleted app {id}"))];
    Plan {
        events,
        ..Plan::remote(input.status.clone(), AppWrite::Delete { id, based_on }, format!("deleting app {id}"))
    }
}

fn release(input: &AppInput<'_>) -> Plan<SpiceApp> {
    Plan::kubernetes(input.status.clone(), KubernetesWrite::RemoveFinalizer, Outcome::Finalized)
}
