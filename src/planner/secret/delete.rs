//! Deletion of an object's secrets. Reads only the recorded state, references, policy and finalizers, so that an object
//! with an invalid spec can be deleted.

use jiff::Timestamp;

use super::entries::should_delete;
use super::input::{ParentApp, SecretInput, SecretRead, SiblingSecret, fresh_app, is_own_app, organization_wait};
use super::name_conflicts::{competing_owner, handover_message, owned_entries, siblings, takes_precedence};
use super::next::{Next, no_op, release};
use super::write::{MAX_BATCH, SecretWrite, name_list, with_name};
use crate::api::{DeletionPolicy, Reason, SecretEntry};
use crate::planner::errors::{ApiOperation, call_failed, read_failed};
use crate::planner::observation::Observed;
use crate::planner::outcome::{EventRecord, Outcome, Retry};
use crate::planner::remote_app::{ListedAbsence, Ownership, listed_absence, unreadable_app_message};
use crate::planner::resource::Plan;

pub(super) fn next(input: &SecretInput<'_>) -> Next {
    let observed = input.observed;
    let has_none = input.status.secrets.is_empty() && input.status.conflicts.is_empty();
    if has_none || input.desired.deletion_policy == Some(DeletionPolicy::Retain) {
        return release(input);
    }
    let cached = [(observed.app.is_none(), SecretRead::App), (observed.siblings.is_none(), SecretRead::Siblings)];
    if let Some((_, read)) = cached.into_iter().find(|(missing, _)| *missing) {
        return Next::Read(read);
    }
    let owned = owned_entries(input);
    let app = match &observed.app {
        Some(Observed::Present(app)) => app,
        Some(Observed::Unknown(_)) if !owned.iter().any(|entry| should_delete(input, entry)) => return release(input),
        Some(Observed::Unknown(error)) => {
            return no_op(input, Outcome::WriteFailed(Reason::DependencyNotReady, error.to_string(), Retry::Backoff));
        }
        // The secrets were deleted with the app, or are no longer managed.
        Some(Observed::Absent) | None => {
            let state = if observed.app_is_released { "is being deleted" } else { "does not exist" };
            let why =
                format!("SpiceApp \"{}\" {state}. If the app was kept, the secrets stay in the app", input.desired.app);
            return release_kept(input, &owned, &why);
        }
    };
    let Some(id) = app.id.filter(|id| input.status.app_id.is_none_or(|recorded| recorded == *id)) else {
        return release_kept(input, &owned, &format!("SpiceApp \"{}\" does not manage this app", input.desired.app));
    };
    if let Some(message) = unacknowledged_handover(input, &owned).or_else(|| pending_handover(input)) {
        return no_op(input, Outcome::Terminating(message));
    }
    let names = names_to_delete(input, &owned);
    if names.is_empty() {
        return release(input);
    }
    match &observed.crd_terminating {
        None => return Next::Read(SecretRead::CrdTerminating),
        // The deletion of the CustomResourceDefinition deletes every object, which is no request to delete secrets.
        Some(Observed::Present(true) | Observed::Absent) => {
            return release_kept(input, &owned, "the CustomResourceDefinition is being deleted");
        }
        Some(Observed::Unknown(error)) => return no_op(input, read_failed(error, "secrets:write")),
        Some(Observed::Present(false)) => {}
    }
    if let Some(message) = organization_wait(app) {
        return no_op(input, Outcome::WriteFailed(Reason::DependencyNotReady, message, Retry::Backoff));
    }
    delete_from(input, app, id, &owned)
}

/// Names of the secrets that the deletion of the object deletes.
fn names_to_delete(input: &SecretInput<'_>, owned: &[SecretEntry]) -> Vec<String> {
    let is_deleted =
        |entry: &&SecretEntry| should_delete(input, entry) && competing_owner(input, &entry.name).is_none();
    owned.iter().filter(is_deleted).map(|entry| entry.name.clone()).collect()
}

/// Releases the object, and names the secrets that are not deleted.
fn release_kept(input: &SecretInput<'_>, owned: &[SecretEntry], why: &str) -> Next {
    let names = names_to_delete(input, owned);
    let (false, Some(id)) = (names.is_empty(), input.status.app_id) else { return release(input) };
    let message = format!("Did not delete secret {} from app {id}: {why}", name_list(names.iter().map(String::as_str)));
    let events = vec![EventRecord::warning("Delete", "SecretsKept", message)];
    Plan { events, ..input.release() }.into()
}

/// Deletes the secrets once a fresh read shows that the app is the operator's.
fn delete_from(input: &SecretInput<'_>, app: &ParentApp, id: i64, owned: &[SecretEntry]) -> Next {
    match fresh_app(input) {
        None => Next::Read(SecretRead::RemoteApp(id, input.oldest_usable_read())),
        Some(Observed::Present(read)) if is_own_app(input, app, &read.value) => {
            plan_delete(input, id, names_to_delete(input, owned), read.started_at)
        }
        Some(Observed::Present(read)) if Ownership::of(&read.value, &input.desired.owner) == Ownership::Unowned => {
            let message =
                format!("App {id} has no owner tag; waiting for SpiceApp \"{}\" to restore the tag", input.desired.app);
            no_op(input, Outcome::Terminating(message))
        }
        // The app belongs to another owner by now.
        Some(Observed::Present(_)) => release_kept(input, owned, "the app has another owner"),
        Some(Observed::Absent) => absent(input, id),
        Some(Observed::Unknown(error)) => no_op(input, read_failed(error, "apps:read")),
    }
}

/// Message for a sibling that requests a secret of this object and has not acknowledged the hand-over. The sibling
/// would otherwise take the secret for a third party's.
fn unacknowledged_handover(input: &SecretInput<'_>, owned: &[SecretEntry]) -> Option<String> {
    owned.iter().find_map(|entry| {
        let other = competing_owner(input, &entry.name).filter(|other| !other.acknowledged.contains(&entry.name))?;
        Some(handover_message(other, &entry.name))
    })
}

/// Message for a terminating sibling that may still hand a name over to this object. To avoid a deadlock between
/// terminating objects, the oldest one never waits.
fn pending_handover(input: &SecretInput<'_>) -> Option<String> {
    let also_waits = |other: &SiblingSecret| other.acknowledged.iter().any(|name| !other.managed.contains(name));
    let mut terminating =
        siblings(input).filter(|other| other.deleting && (takes_precedence(input, other) || !also_waits(other)));
    terminating.find_map(|other| {
        let mut conflicts = input.status.conflicts.iter();
        let conflict = conflicts.find(|one| one.present == Some(true) && other.managed.contains(&one.name))?;
        Some(format!(
            "Waiting for SpiceSecret \"{}\", which is being deleted and owns \"{}\"",
            other.object, conflict.name
        ))
    })
}

fn plan_delete(input: &SecretInput<'_>, app: i64, mut names: Vec<String>, based_on: Timestamp) -> Next {
    if let Some((name, error)) = input.observed.failed.iter().next() {
        let outcome = call_failed(error, ApiOperation::Delete, "secrets:write", input.timings);
        return no_op(input, with_name(name, outcome));
    }
    names.truncate(MAX_BATCH);
    let message = format!("Deleting {}", name_list(names.iter().map(String::as_str)));
    let write = SecretWrite::Delete { app, based_on, names };
    Plan::remote(input.status.clone(), write, message).into()
}

/// Releases the object if the app list confirms the 404: the secrets were deleted with the app.
fn absent(input: &SecretInput<'_>, id: i64) -> Next {
    match listed_absence(input.observed.apps.as_ref(), id) {
        ListedAbsence::NotRead => Next::Read(SecretRead::Apps(input.oldest_usable_read())),
        ListedAbsence::Absent => release(input),
        ListedAbsence::Unknown(error) => no_op(input, read_failed(error, "apps:read")),
        ListedAbsence::Listed => {
            let message = unreadable_app_message(id);
            no_op(input, Outcome::ReadFailed(Reason::RemoteUnavailable, message, Retry::Backoff))
        }
    }
}
