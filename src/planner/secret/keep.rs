//! Secrets that are wanted: set what is missing, what has another value, and what somebody else has changed; delete what is
//! no longer wanted and is ours.

use super::claims::{is_told_rightly, note_held};
use super::content::Wanted;
use super::judge::Judge;
use super::validate::Asked;
use super::*;
use crate::planner::Standing;

pub(super) fn next(view: &SecretView<'_>) -> Next {
    if view.observed.others.is_none() {
        return Next::Read(SecretRead::Others);
    }
    match judged(view) {
        Next::Do(mut plan) => {
            note_held(view, &mut plan.status);
            // Another version of what is set already is taken up, whatever else is in the way.
            if view.sources_changed() && is_set_already(view) {
                plan.status.sources = sources(view);
            }
            Next::Do(plan)
        }
        read @ Next::Read(_) => read,
    }
}

fn judged(view: &SecretView<'_>) -> Next {
    let observed = view.observed;
    if view.desired.suspended {
        return idle(view, Verdict::Suspended);
    }
    if !view.has_finalizer() {
        let verdict = Verdict::Working("taking the object up".to_owned());
        return Plan::kubernetes(view.status.clone(), KubernetesWrite::AddFinalizer, verdict).into();
    }
    let asked = match &view.desired.spec {
        Ok(asked) => asked,
        Err(why) => return idle(view, Verdict::Stalled(Reason::InvalidSpec, why.clone())),
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
        let words = "the operator has no key of digests yet: its /readyz and its log say why";
        return idle(view, Verdict::Waiting(Reason::DependencyNotReady, words.to_owned()));
    }
    if rests(view) {
        return idle(view, Verdict::Unchanged);
    }
    let (app, id) = match usable(view) {
        Ok(found) => found,
        // Whether it is still as wanted is to be told all the same.
        Err(Verdict::Waiting(..))
            if view.sources_changed() && !view.status.sources.is_empty() && observed.values.is_none() =>
        {
            return Next::Read(SecretRead::Values);
        }
        Err(verdict) => return idle(view, verdict),
    };
    match wanted(view, asked) {
        Ok(wanted) => Judge::new(view, app, id, wanted).next(),
        Err(next) => next,
    }
}

/// The app, and its id, if something may be set in it now.
fn usable<'a>(view: &SecretView<'a>) -> Result<(&'a AppFacts, i64), Verdict> {
    let name = &view.desired.app;
    let waiting = |words| Err(Verdict::Waiting(Reason::DependencyNotReady, words));
    match &view.observed.app {
        Some(Observed::Present(app)) => match (not_admitted(app), &app.unready, no_organization(app), app.id) {
            (Some(why), ..) => Err(Verdict::Waiting(Reason::NamespaceNotAllowed, why.clone())),
            (None, Some(why), ..) => waiting(format!("SpiceApp {name} {why}")),
            (None, None, Some(why), _) => waiting(why),
            (None, None, None, None) => waiting(format!("SpiceApp {name} has no app yet")),
            (None, None, None, Some(id)) => Ok((app, id)),
        },
        Some(Observed::Unknown(failure)) => waiting(failure.to_string()),
        Some(Observed::Absent) | None => {
            let words = format!("SpiceApp {name} does not exist in this namespace");
            Err(Verdict::Bereft(Reason::DependencyNotReady, words))
        }
    }
}

/// Whether the source, as it was read, holds what was set last and nothing else.
fn is_set_already(view: &SecretView<'_>) -> bool {
    let (Some(Observed::Present(values)), Ok(asked)) = (&view.observed.values, &view.desired.spec) else {
        return false;
    };
    let (wanted, entries) = (values.wanted(asked), &view.status.entries);
    let is_set = |entry: &SecretEntry| {
        entry.digest.is_some()
            && entry.digest.as_ref() == wanted.contents.get(&entry.name).map(|content| &content.digest)
    };
    wanted.problems.is_empty() && wanted.contents.len() == entries.len() && entries.iter().all(is_set)
}

/// What is wanted, or what is to be done before that is known. Nothing, where all is as it was: then what was set is
/// what is wanted.
fn wanted(view: &SecretView<'_>, asked: &Asked) -> Result<Option<Wanted>, Next> {
    let name = &asked.source;
    let missing = || {
        let words = format!("Secret {name} does not exist in this namespace; what was set from it stays");
        Err(idle(view, tell::missing(view, words)))
    };
    if view.observed.source == Some(Observed::Absent) {
        return missing();
    }
    match &view.observed.values {
        Some(Observed::Present(values)) => Ok(Some(values.wanted(asked))),
        Some(Observed::Absent) => missing(),
        Some(Observed::Unknown(failure)) => Err(idle(view, unseen(failure, "secrets:read"))),
        None if in_date(view) && standing(view) == Some(Standing::Achieved) => Ok(None),
        None => Err(Next::Read(SecretRead::Values)),
    }
}

pub(super) fn standing(view: &SecretView<'_>) -> Option<Standing> {
    view.visited(view.status.clone())
}

fn rests(view: &SecretView<'_>) -> bool {
    let observed = view.observed;
    // An answer of this visit is judged, whatever the schedule says.
    let untouched = observed.values.is_none() && observed.list.is_none() && observed.shown.is_none();
    let is_held = || view.held_until().is_some() && is_told_rightly(view);
    untouched && (in_date(view) || is_held()) && view.rests()
}

/// The version of the Kubernetes Secret: as it was read, or else as the cache shows it.
pub(super) fn sources(view: &SecretView<'_>) -> Vec<SourceVersion> {
    match (&view.observed.values, &view.observed.source) {
        (Some(Observed::Present(values)), _) => vec![values.version.clone()],
        (_, Some(Observed::Present(version))) => vec![version.clone()],
        _ => Vec::new(),
    }
}

/// Whether what was set is what was asked for, as far as Kubernetes tells: the same source, the same app, digests that can be
/// compared, and nobody before us.
pub(super) fn in_date(view: &SecretView<'_>) -> bool {
    let Some(app) = app(view.observed) else { return false };
    let confirmed = |entry: &SecretEntry| {
        is_confirmed(entry, app) && entry.digest.as_deref().is_some_and(|it| digest::is_under(it, key(view)))
    };
    !view.sources_changed() && view.status.entries.iter().all(confirmed) && is_told_rightly(view)
}

/// Whether an entry was certainly set, in the app as it is now.
pub(super) fn is_confirmed(entry: &SecretEntry, app: &AppFacts) -> bool {
    entry.digest.is_some() && entry.incarnation.is_some() && entry.incarnation == app.incarnation
}

/// Whether an entry goes with the object, or with its name in the spec.
pub(super) fn is_to_go(view: &SecretView<'_>, entry: &SecretEntry) -> bool {
    match view.desired.deletion_policy {
        Some(DeletionPolicy::Delete) => true,
        Some(DeletionPolicy::Retain) => false,
        None => entry.adopted != Some(true),
    }
}
