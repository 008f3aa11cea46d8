//! Secrets of an object that is being deleted. Reads only what is recorded, references, policy and finalizers, so that an
//! object with an invalid spec can be deleted too.

use super::claims::{claimant, is_before_us, others, own, waiting_for};
use super::keep::is_to_go;
use super::*;

pub(super) fn next(view: &SecretView<'_>) -> Next {
    let observed = view.observed;
    if !view.has_finalizer() {
        return idle(view, Verdict::Gone);
    }
    let has_none = view.status.entries.is_empty() && view.status.held.is_empty();
    if has_none || view.desired.deletion_policy == Some(DeletionPolicy::Retain) {
        return release(view);
    }
    let cached = [(observed.app.is_none(), SecretRead::App), (observed.others.is_none(), SecretRead::Others)];
    if let Some((_, read)) = cached.into_iter().find(|(missing, _)| *missing) {
        return Next::Read(read);
    }
    let app = match &observed.app {
        Some(Observed::Present(app)) => app,
        Some(Observed::Unknown(_)) if !own(view).iter().any(|entry| is_to_go(view, entry)) => {
            return release(view);
        }
        Some(Observed::Unknown(failure)) => {
            return idle(view, Verdict::Failed(Reason::DependencyNotReady, failure.to_string(), Retry::Backoff));
        }
        // With the app its secrets have gone, or are nobody's business any more.
        Some(Observed::Absent) | None => return release(view),
    };
    let going = |entry: &&SecretEntry| is_to_go(view, entry) && claimant(view, &entry.name).is_none();
    let own = own(view);
    let names: Vec<String> = own.iter().filter(going).map(|entry| entry.name.clone()).collect();
    let Some(id) = app.id.filter(|id| view.status.app_id.is_none_or(|of| of == *id)) else { return release(view) };
    if let Some(words) = unaware(view, &own).or_else(|| heir(view)) {
        return idle(view, Verdict::Deleting(words));
    }
    if names.is_empty() {
        return release(view);
    }
    match &observed.definition_deleting {
        None => return Next::Read(SecretRead::Definition),
        // With the definition every object goes: nobody asked for the secrets themselves to go.
        Some(Observed::Present(true) | Observed::Absent) => return release(view),
        Some(Observed::Unknown(failure)) => return idle(view, unseen(failure, "secrets:write")),
        Some(Observed::Present(false)) => {}
    }
    if let Some(words) = no_organization(app) {
        return idle(view, Verdict::Failed(Reason::DependencyNotReady, words, Retry::Backoff));
    }
    match shown(view) {
        None => Next::Read(SecretRead::Shown(id, evidence(view))),
        Some(Observed::Present(seen)) if is_ours(view, app, &seen.value) => delete(view, id, names, seen.begun),
        Some(Observed::Present(seen)) if seen.value.tag(OWNER_TAG).is_none() => {
            let words = format!("app {id} shows no owner: waiting for SpiceApp {} to put that right", view.desired.app);
            idle(view, Verdict::Deleting(words))
        }
        // It is another's app by now: nothing of it is ours.
        Some(Observed::Present(_)) => release(view),
        Some(Observed::Absent) => absent(view, id),
        Some(Observed::Unknown(failure)) => idle(view, unseen(failure, "apps:read")),
    }
}

/// Who wants a secret of ours and has not taken note yet that it is one: it would take it for a stranger's.
fn unaware(view: &SecretView<'_>, own: &[SecretEntry]) -> Option<String> {
    own.iter().find_map(|entry| {
        let other = claimant(view, &entry.name).filter(|other| !other.knows.contains(&entry.name))?;
        Some(waiting_for(other, &entry.name))
    })
}

/// Whose secret may still pass on to us: it is being deleted as well, and may have left the secret to us before we were. Of
/// several that would wait for each other the oldest waits for none.
fn heir(view: &SecretView<'_>) -> Option<String> {
    let waits_too = |other: &OtherSecret| other.knows.iter().any(|name| !other.set.contains(name));
    let mut deleting = others(view).filter(|other| other.deleting && (is_before_us(view, other) || !waits_too(other)));
    let may_pass = |other: &OtherSecret| {
        view.status.held.iter().find(|held| held.set == Some(true) && other.set.contains(&held.name))
    };
    deleting.find_map(|other| {
        let held = may_pass(other)?;
        Some(format!("waiting for SpiceSecret {}, which has {} and is being deleted too", other.object, held.name))
    })
}

fn delete(view: &SecretView<'_>, app: i64, mut names: Vec<String>, rests_on: Timestamp) -> Next {
    let failed = view.observed.failed.iter().next();
    if let Some((name, failure)) = failed {
        return idle(view, tell::about(name, failure::failed(failure, Call::Delete, "secrets:write", view.waits)));
    }
    names.truncate(LARGEST_BATCH);
    let message = format!("deleting {}", tell::named(names.iter().map(String::as_str)));
    let write = SecretWrite::Delete { app, rests_on, names };
    Plan::remote(view.status.clone(), write, message).into()
}

/// A 404 and a complete list without the app: with it, its secrets are gone.
fn absent(view: &SecretView<'_>, id: i64) -> Next {
    match &view.observed.apps {
        None => Next::Read(SecretRead::Apps(evidence(view))),
        Some(Observed::Present(list)) if !list.value.iter().any(|app| app.id == id) => release(view),
        Some(Observed::Unknown(failure)) => idle(view, unseen(failure, "apps:read")),
        Some(Observed::Present(_) | Observed::Absent) => {
            let words = format!("app {id} cannot be read, though the list of apps has it");
            idle(view, Verdict::Unseen(Reason::RemoteUnavailable, words, Retry::Backoff))
        }
    }
}

fn release(view: &SecretView<'_>) -> Next {
    Plan::kubernetes(view.status.clone(), KubernetesWrite::RemoveFinalizer, Verdict::Gone).into()
}
