//! Reconciles secrets that are desired: sets missing, changed and drifted secrets; deletes own secrets that the spec no
//! longer requests.

use super::changes::ChangePlanner;
use super::entries::is_applied;
use super::input::{ParentApp, SecretInput, SecretRead, app, key_id, organization_wait};
use super::name_conflicts::{conflicts_up_to_date, record_conflicts};
use super::next::{Next, no_op};
use super::source::DesiredSecrets;
use super::validate::{KeySelection, SelectedKeys};
use crate::api::{AppRef, Reason, SecretEntry, SpiceSecret, SpiceSecretStatus};
use crate::planner::digest;
use crate::planner::errors::read_failed;
use crate::planner::observation::Observed;
use crate::planner::outcome::Outcome;
use crate::planner::resource::Plan;
use crate::planner::status::LastResult;

pub(super) fn next(input: &SecretInput<'_>, selection: &KeySelection) -> Next {
    let observed = input.observed;
    let cached = [
        (observed.app.is_none(), SecretRead::App),
        (observed.source.is_none(), SecretRead::Source),
        (observed.key.is_none(), SecretRead::Key),
    ];
    if let Some((_, read)) = cached.into_iter().find(|(missing, _)| *missing) {
        return Next::Read(read);
    }
    // Without the key, the desired values cannot be compared with the digests in status.
    if observed.key == Some(Observed::Absent) {
        return no_op(input, digest_key_wait(input));
    }
    if can_skip(input) {
        return no_op(input, Outcome::Skipped);
    }
    if must_compare_content(input) {
        return Next::Read(SecretRead::SourceValues);
    }
    let (app, id) = match usable_app(input) {
        Ok(found) => found,
        Err(outcome) => return no_op(input, outcome),
    };
    match desired_secrets(input, selection) {
        Ok(desired) => ChangePlanner::new(input, app, id, desired).next(),
        Err(next) => next,
    }
}

/// Returns true if only the content shows whether a new version of the Secret changes anything: for the readiness, and
/// for a new attempt.
fn must_compare_content(input: &SecretInput<'_>) -> bool {
    let has_earlier = !input.status.core.observed_sources.is_empty() || input.runtime_state.retry_hold.is_some();
    let is_present = matches!(input.observed.source, Some(Observed::Present(_)));
    has_earlier && is_present && input.observed.values.is_none() && input.sources_changed()
}

/// Adds the records of every plan: the names that siblings own, and a new version of the Secret whose content is
/// already applied.
pub(super) fn complete(input: &SecretInput<'_>, mut plan: Plan<SpiceSecret>) -> Plan<SpiceSecret> {
    plan.status.app_ref = Some(AppRef { name: input.desired.app.clone() });
    plan.status.applied_secrets = applied_secrets(input, &plan.status);
    record_conflicts(input, &mut plan.status);
    if !input.sources_changed() || is_source_applied(input) {
        plan.status.core.observed_sources = input.sources();
    }
    plan
}

/// Outcome without the digest key.
fn digest_key_wait(input: &SecretInput<'_>) -> Outcome {
    let failure = input.observed.key_failure.as_ref();
    let cause = failure.map_or("see its /readyz and its log", |failure| &failure.error);
    let (reason, action) = match failure {
        Some(failure) if failure.is_refusal => (Reason::KubernetesRejected, ". Correct the policy or the permission"),
        Some(_) | None => (Reason::DependencyNotReady, ""),
    };
    Outcome::WaitingForDependency(reason, format!("The operator has no digest key yet; {cause}{action}"))
}

/// The app and its ID, if secrets can be written now.
fn usable_app<'a>(input: &SecretInput<'a>) -> Result<(&'a ParentApp, i64), Outcome> {
    let name = &input.desired.app;
    let waiting = |message| Err(Outcome::WaitingForDependency(Reason::DependencyNotReady, message));
    let app = match &input.observed.app {
        Some(Observed::Present(app)) => app,
        Some(Observed::Unknown(error)) => return waiting(error.to_string()),
        Some(Observed::Absent) | None => {
            let state = if input.observed.app_is_released { "is being deleted" } else { "not found" };
            let message = format!("SpiceApp \"{name}\" {state}");
            return Err(Outcome::DependencyDeleted(Reason::DependencyNotReady, message));
        }
    };
    let not_allowed = app.organization.present().and_then(|organization| organization.not_allowed.as_ref());
    match (not_allowed, &app.unready, organization_wait(app), app.id) {
        (Some(why), ..) => Err(Outcome::WaitingForDependency(Reason::NamespaceNotAllowed, why.clone())),
        (None, Some(why), ..) => waiting(format!("SpiceApp \"{name}\" {why}")),
        (None, None, Some(why), _) => waiting(why),
        (None, None, None, None) => waiting(format!("SpiceApp \"{name}\" has no app yet")),
        (None, None, None, Some(id)) => Ok((app, id)),
    }
}

/// Returns true if the Secret, as read, has exactly the content that was set last.
fn is_source_applied(input: &SecretInput<'_>) -> bool {
    let (Some(Observed::Present(values)), Ok(selection)) = (&input.observed.values, &input.desired.spec) else {
        return false;
    };
    let (desired, entries) = (values.desired(selection), &input.status.secrets);
    let is_set = |entry: &SecretEntry| {
        entry.digest.is_some() && entry.digest.as_ref() == desired.values.get(&entry.name).map(|value| &value.digest)
    };
    desired.problems.is_empty() && desired.values.len() == entries.len() && entries.iter().all(is_set)
}

/// The desired secrets, or the step that must come first. None if nothing changed since the last reconcile, so that the
/// recorded secrets are the desired ones.
fn desired_secrets(input: &SecretInput<'_>, selection: &KeySelection) -> Result<Option<DesiredSecrets>, Next> {
    let missing = || {
        let message = format!(
            "Secret \"{}\" not found. Secrets already set from it are kept. Create the Secret, or correct spec.secretRef",
            selection.source
        );
        Err(no_op(input, input.source_missing(message)))
    };
    if input.observed.source == Some(Observed::Absent) {
        return missing();
    }
    match &input.observed.values {
        Some(Observed::Present(values)) => Ok(Some(values.desired(selection))),
        Some(Observed::Absent) => missing(),
        Some(Observed::Unknown(error)) => Err(no_op(input, read_failed(error, "secrets:read"))),
        None if is_up_to_date(input) && input.last_result() == Some(LastResult::Ready) => Ok(None),
        None => Err(Next::Read(SecretRead::SourceValues)),
    }
}

fn can_skip(input: &SecretInput<'_>) -> bool {
    let observed = input.observed;
    // A response of this reconcile is always evaluated, regardless of the schedule.
    let has_read = observed.list.is_some() || observed.remote_app.is_some();
    let is_held = || input.write_held_until().is_some() && conflicts_up_to_date(input);
    !has_read && (is_up_to_date(input) || is_held()) && input.can_skip()
}

/// Returns true if the recorded secrets are the desired ones, as far as Kubernetes shows: the same Secret, the same
/// app, comparable digests, and unchanged conflicts.
pub(super) fn is_up_to_date(input: &SecretInput<'_>) -> bool {
    let Some(app) = app(input.observed) else { return false };
    let is_comparable = |entry: &SecretEntry| {
        is_applied(entry, app) && entry.digest.as_deref().is_some_and(|value| digest::is_under(value, key_id(input)))
    };
    !input.sources_changed() && input.status.secrets.iter().all(is_comparable) && conflicts_up_to_date(input)
}

/// How many of the requested secrets are applied, such as `1/2`. An earlier result is kept while it cannot be computed:
/// the values of the Kubernetes Secret are read only if something has changed.
fn applied_secrets(input: &SecretInput<'_>, status: &SpiceSecretStatus) -> Option<String> {
    let earlier = status.applied_secrets.clone();
    let Ok(selection) = &input.desired.spec else { return earlier };
    let is_current = |name: &String, digest: Option<&String>| {
        let entry = status.secrets.iter().find(|entry| entry.name == *name && entry.digest.is_some());
        entry.is_some_and(|entry| {
            app(input.observed).is_none_or(|app| is_applied(entry, app))
                && (digest.is_none() || entry.digest.as_ref() == digest)
        })
    };
    let is_new = earlier.is_none() || Some(status.core.observed_generation) != input.meta.generation;
    let (applied, requested) = match (&input.observed.values, &selection.keys) {
        (Some(Observed::Present(source)), _) => {
            let desired = source.desired(selection).values;
            let applied = desired.iter().filter(|(name, value)| is_current(name, Some(&value.digest))).count();
            (applied, source.requested(selection))
        }
        (_, SelectedKeys::Listed(keys)) if is_new => {
            (keys.iter().filter(|(_, name)| is_current(name, None)).count(), keys.len())
        }
        (_, SelectedKeys::Listed(_) | SelectedKeys::All) => return earlier,
    };
    if requested == 0 { earlier } else { Some(format!("{applied}/{requested}")) }
}
