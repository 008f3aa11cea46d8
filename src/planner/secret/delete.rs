//! Secrets of an object that is being deleted. Reads only what is recorded, references, policy and finalizers, so that an
//! object with an invalid spec can be deleted too.

use super::name_conflicts::{claimant, is_before_us, others, own, waiting_for};
use super::update::is_to_go;
use super::*;

pub(super) fn next(input: &SecretInput<'_>) -> Next {
    let observed = input.observed;
    if !input.has_finalizer() {
        return no_op(input, Outcome::Finalized);
    }
    let has_none = input.status.secrets.is_empty() && input.status.conflicts.is_empty();
    if has_none || input.desired.deletion_policy == Some(DeletionPolicy::Retain) {
        return release(input);
    }
    let cached = [(observed.app.is_none(), SecretRead::App), (observed.others.is_none(), SecretRead::Siblings)];
    if let Some((_, read)) = cached.into_iter().find(|(missing, _)| *missing) {
        return Next::Read(read);
    }
    let app = match &observed.app {
        Some(Observed::Present(app)) => app,
        Some(Observed::Unknown(_)) if !own(input).iter().any(|entry| is_to_go(input, entry)) => {
            return release(input);
        }
        Some(Observed::Unknown(error)) => {
            return no_op(input, Outcome::WriteFailed(Reason::DependencyNotReady, error.to_string(), Retry::Backoff));
        }
        // With the app its secrets have gone, or are nobody's business any more.
        Some(Observed::Absent) | None => return release(input),
    };
    let going = |entry: &&SecretEntry| is_to_go(input, entry) && claimant(input, &entry.name).is_none();
    let own = own(input);
    let names: Vec<String> = own.iter().filter(going).map(|entry| entry.name.clone()).collect();
    let Some(id) = app.id.filter(|id| input.status.app_id.is_none_or(|of| of == *id)) else { return release(input) };
    if let Some(message) = unaware(input, &own).or_else(|| heir(input)) {
        return no_op(input, Outcome::Terminating(message));
    }
    if names.is_empty() {
        return release(input);
    }
    match &observed.crd_terminating {
        None => return Next::Read(SecretRead::CrdTerminating),
        // With the definition every object goes: nobody asked for the secrets themselves to go.
        Some(Observed::Present(true) | Observed::Absent) => return release(input),
        Some(Observed::Unknown(error)) => return no_op(input, read_failed(error, "secrets:write")),
        Some(Observed::Present(false)) => {}
    }
    if let Some(message) = no_organization(app) {
        return no_op(input, Outcome::WriteFailed(Reason::DependencyNotReady, message, Retry::Backoff));
    }
    match shown(input) {
        None => Next::Read(SecretRead::RemoteApp(id, max_read_age(input))),
        Some(Observed::Present(seen)) if is_ours(input, app, &seen.value) => delete(input, id, names, seen.started_at),
        Some(Observed::Present(seen)) if seen.value.tag(OWNER_TAG).is_none() => {
            let message =
                format!("app {id} shows no owner: waiting for SpiceApp {} to put that right", input.desired.app);
            no_op(input, Outcome::Terminating(message))
        }
        // It is another's app by now: nothing of it is ours.
        Some(Observed::Present(_)) => release(input),
        Some(Observed::Absent) => absent(input, id),
        Some(Observed::Unknown(error)) => no_op(input, read_failed(error, "apps:read")),
    }
}

/// Who wants a secret of ours and has not taken note yet that it is one: it would take it for a stranger's.
fn unaware(input: &SecretInput<'_>, own: &[SecretEntry]) -> Option<String> {
    own.iter().find_map(|entry| {
        let other = claimant(input, &entry.name).filter(|other| !other.knows.contains(&entry.name))?;
        Some(waiting_for(other, &entry.name))
    })
}

/// Whose secret may still pass on to us: it is being deleted as well, and may have left the secret to us before we were. Of
/// several that would wait for each other the oldest waits for none.
fn heir(input: &SecretInput<'_>) -> Option<String> {
    let waits_too = |other: &SiblingSecret| other.knows.iter().any(|name| !other.set.contains(name));
    let mut deleting =
        others(input).filter(|other| other.deleting && (is_before_us(input, other) || !waits_too(other)));
    let may_pass = |other: &SiblingSecret| {
        input.status.conflicts.iter().find(|held| held.present == Some(true) && other.set.contains(&held.name))
    };
    deleting.find_map(|other| {
        let held = may_pass(other)?;
        Some(format!("waiting for SpiceSecret {}, which has {} and is being deleted too", other.object, held.name))
    })
}

fn delete(input: &SecretInput<'_>, app: i64, mut names: Vec<String>, based_on: Timestamp) -> Next {
    let failed = input.observed.failed.iter().next();
    if let Some((name, error)) = failed {
        return no_op(
            input,
            messages::about(name, errors::call_failed(error, ApiOperation::Delete, "secrets:write", input.timings)),
        );
    }
    names.truncate(LARGEST_BATCH);
    let message = format!("deleting {}", messages::named(names.iter().map(String::as_str)));
    let write = SecretWrite::Delete { app, based_on, names };
    Plan::remote(input.status.clone(), write, message).into()
}

/// A 404 and a complete list without the app: with it, its secrets are gone.
fn absent(input: &SecretInput<'_>, id: i64) -> Next {
    match &input.observed.apps {
        None => Next::Read(SecretRead::Apps(max_read_age(input))),
        Some(Observed::Present(list)) if !list.value.iter().any(|app| app.id == id) => release(input),
        Some(Observed::Unknown(error)) => no_op(input, read_failed(error, "apps:read")),
        Some(Observed::Present(_) | Observed::Absent) => {
            let message = format!("app {id} cannot be read, though the list of apps has it");
            no_op(input, Outcome::ReadFailed(Reason::RemoteUnavailable, message, Retry::Backoff))
        }
    }
}

fn release(input: &SecretInput<'_>) -> Next {
    Plan::kubernetes(input.status.clone(), KubernetesWrite::RemoveFinalizer, Outcome::Finalized).into()
}
