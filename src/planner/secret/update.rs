//! Secrets that are wanted: set what is missing, what has another value, and what somebody else has changed; delete what is
//! no longer wanted and is ours.

use super::name_conflicts::{is_told_rightly, note_held};
use super::plan::SecretPlanner;
use super::source::DesiredSecrets;
use super::validate::{KeySelection, SelectedKeys};
use super::*;
use crate::api::AppRef;
use crate::planner::LastResult;

pub(super) fn next(input: &SecretInput<'_>) -> Next {
    if input.observed.others.is_none() {
        return Next::Read(SecretRead::Siblings);
    }
    match judged(input) {
        Next::Do(mut plan) => {
            note_held(input, &mut plan.status);
            plan.status.app_ref = Some(AppRef { name: input.desired.app.clone() });
            plan.status.applied_secrets = applied_secrets(input, &plan.status);
            // Another version of what is set already is taken up, whatever else is in the way.
            if input.sources_changed() && is_set_already(input) {
                plan.status.observed_sources = sources(input);
            }
            Next::Do(plan)
        }
        read @ Next::Read(_) => read,
    }
}

fn judged(input: &SecretInput<'_>) -> Next {
    let observed = input.observed;
    if input.desired.suspended {
        return no_op(input, Outcome::Suspended);
    }
    if !input.has_finalizer() {
        let outcome = Outcome::InProgress("taking the object up".to_owned());
        return Plan::kubernetes(input.status.clone(), KubernetesWrite::AddFinalizer, outcome).into();
    }
    let asked = match &input.desired.spec {
        Ok(asked) => asked,
        Err(why) => return no_op(input, Outcome::Stalled(Reason::InvalidSpec, why.clone())),
    };
    let cached = [
        (observed.app.is_none(), SecretRead::App),
        (observed.source.is_none(), SecretRead::Source),
        (observed.key.is_none(), SecretRead::Key),
    ];
    if let Some((_, read)) = cached.into_iter().find(|(missing, _)| *missing) {
        return Next::Read(read);
    }
    // What was set cannot be compared with what is wanted.
    if observed.key == Some(Observed::Absent) {
        let message = "the operator has no key of digests yet: its /readyz and its log say why";
        return no_op(input, Outcome::WaitingForDependency(Reason::DependencyNotReady, message.to_owned()));
    }
    if can_skip(input) {
        return no_op(input, Outcome::Skipped);
    }
    let (app, id) = match usable(input) {
        Ok(found) => found,
        // Whether it is still as wanted is to be told all the same.
        Err(Outcome::WaitingForDependency(..))
            if input.sources_changed() && !input.status.observed_sources.is_empty() && observed.values.is_none() =>
        {
            return Next::Read(SecretRead::SourceValues);
        }
        Err(outcome) => return no_op(input, outcome),
    };
    match wanted(input, asked) {
        Ok(wanted) => SecretPlanner::new(input, app, id, wanted).next(),
        Err(next) => next,
    }
}

/// The app, and its id, if something may be set in it now.
fn usable<'a>(input: &SecretInput<'a>) -> Result<(&'a ParentApp, i64), Outcome> {
    let name = &input.desired.app;
    let waiting = |message| Err(Outcome::WaitingForDependency(Reason::DependencyNotReady, message));
    match &input.observed.app {
        Some(Observed::Present(app)) => match (not_admitted(app), &app.unready, no_organization(app), app.id) {
            (Some(why), ..) => Err(Outcome::WaitingForDependency(Reason::NamespaceNotAllowed, why.clone())),
            (None, Some(why), ..) => waiting(format!("SpiceApp {name} {why}")),
            (None, None, Some(why), _) => waiting(why),
            (None, None, None, None) => waiting(format!("SpiceApp {name} has no app yet")),
            (None, None, None, Some(id)) => Ok((app, id)),
        },
        Some(Observed::Unknown(error)) => waiting(error.to_string()),
        Some(Observed::Absent) | None => {
            let message = format!("SpiceApp {name} does not exist in this namespace");
            Err(Outcome::DependencyDeleted(Reason::DependencyNotReady, message))
        }
    }
}

/// Whether the source, as it was read, holds what was set last and nothing else.
fn is_set_already(input: &SecretInput<'_>) -> bool {
    let (Some(Observed::Present(values)), Ok(asked)) = (&input.observed.values, &input.desired.spec) else {
        return false;
    };
    let (wanted, entries) = (values.wanted(asked), &input.status.secrets);
    let is_set = |entry: &SecretEntry| {
        entry.digest.is_some()
            && entry.digest.as_ref() == wanted.contents.get(&entry.name).map(|content| &content.digest)
    };
    wanted.problems.is_empty() && wanted.contents.len() == entries.len() && entries.iter().all(is_set)
}

/// What is wanted, or what is to be done before that is known. Nothing, where all is as it was: then what was set is
/// what is wanted.
fn wanted(input: &SecretInput<'_>, asked: &KeySelection) -> Result<Option<DesiredSecrets>, Next> {
    let name = &asked.source;
    let missing = || {
        let message = format!("Secret {name} does not exist in this namespace; what was set from it stays");
        Err(no_op(input, messages::missing(input, message)))
    };
    if input.observed.source == Some(Observed::Absent) {
        return missing();
    }
    match &input.observed.values {
        Some(Observed::Present(values)) => Ok(Some(values.wanted(asked))),
        Some(Observed::Absent) => missing(),
        Some(Observed::Unknown(error)) => Err(no_op(input, read_failed(error, "secrets:read"))),
        None if is_up_to_date(input) && standing(input) == Some(LastResult::Ready) => Ok(None),
        None => Err(Next::Read(SecretRead::SourceValues)),
    }
}

pub(super) fn standing(input: &SecretInput<'_>) -> Option<LastResult> {
    input.visited(input.status.clone())
}

fn can_skip(input: &SecretInput<'_>) -> bool {
    let observed = input.observed;
    // An answer of this visit is judged, whatever the schedule says.
    let untouched = observed.values.is_none() && observed.list.is_none() && observed.shown.is_none();
    let is_held = || input.write_held_until().is_some() && is_told_rightly(input);
    untouched && (is_up_to_date(input) || is_held()) && input.can_skip()
}

/// The version of the Kubernetes Secret: as it was read, or else as the cache shows it.
pub(super) fn sources(input: &SecretInput<'_>) -> Vec<SourceVersion> {
    match (&input.observed.values, &input.observed.source) {
        (Some(Observed::Present(values)), _) => vec![values.version.clone()],
        (_, Some(Observed::Present(version))) => vec![version.clone()],
        _ => Vec::new(),
    }
}

/// Whether what was set is what was asked for, as far as Kubernetes tells: the same source, the same app, digests that can be
/// compared, and nobody before us.
pub(super) fn is_up_to_date(input: &SecretInput<'_>) -> bool {
    let Some(app) = app(input.observed) else { return false };
    let confirmed = |entry: &SecretEntry| {
        is_confirmed(entry, app) && entry.digest.as_deref().is_some_and(|it| digest::is_under(it, key(input)))
    };
    !input.sources_changed() && input.status.secrets.iter().all(confirmed) && is_told_rightly(input)
}

/// How many of the requested secrets are applied, such as `1/2`. An earlier result is kept while it cannot be computed: the
/// values of the Kubernetes Secret are read only if something has changed.
fn applied_secrets(input: &SecretInput<'_>, status: &SpiceSecretStatus) -> Option<String> {
    let earlier = status.applied_secrets.clone();
    let Ok(selection) = &input.desired.spec else { return earlier };
    let is_applied = |name: &String, digest: Option<&String>| {
        let entry = status.secrets.iter().find(|entry| entry.name == *name && entry.digest.is_some());
        entry.is_some_and(|entry| {
            app(input.observed).is_none_or(|app| is_confirmed(entry, app))
                && (digest.is_none() || entry.digest.as_ref() == digest)
        })
    };
    let is_new = earlier.is_none() || Some(status.observed_generation) != input.meta.generation;
    let (applied, requested) = match (&input.observed.values, &selection.keys) {
        (Some(Observed::Present(values)), _) => {
            let wanted = values.wanted(selection);
            let applied = wanted.contents.iter().filter(|(name, value)| is_applied(name, Some(&value.digest)));
            (applied.count(), wanted.contents.len() + wanted.kept.len())
        }
        (_, SelectedKeys::These(keys)) if is_new => {
            (keys.iter().filter(|(_, name)| is_applied(name, None)).count(), keys.len())
        }
        (_, SelectedKeys::These(_) | SelectedKeys::All) => return earlier,
    };
    if requested == 0 { earlier } else { Some(format!("{applied}/{requested}")) }
}

/// Whether an entry was certainly set, in the app as it is now.
pub(super) fn is_confirmed(entry: &SecretEntry, app: &ParentApp) -> bool {
    entry.digest.is_some() && entry.incarnation.is_some() && entry.incarnation == app.incarnation
}

/// Whether an entry goes with the object, or with its name in the spec.
pub(super) fn is_to_go(input: &SecretInput<'_>, entry: &SecretEntry) -> bool {
    match input.desired.deletion_policy {
        Some(DeletionPolicy::Delete) => true,
        Some(DeletionPolicy::Retain) => false,
        None => entry.adopted != Some(true),
    }
}
