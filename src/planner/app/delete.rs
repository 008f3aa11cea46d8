//! An app that is no longer wanted. Reads only id, name, intent, references, policy and finalizers, so that an object
//! with an invalid spec can be deleted too.

use super::super::{Note, schedule};
use super::find;
use super::keep::marked;
use super::*;
use crate::api::DeletionPolicy;

type AppView<'a> = View<'a, SpiceApp>;

pub(super) fn needs(view: &AppView<'_>) -> Vec<AppRead> {
    let observed = view.observed;
    if !view.has_finalizer() || has_nothing(view) {
        return Vec::new();
    }
    if observed.secrets.is_none() {
        return vec![AppRead::Secrets];
    }
    if releases_at_once(view) || (retains(view) && waits(view).is_some()) {
        return Vec::new();
    }
    if let Some(id) = kept(view) {
        return match (&observed.organization, &observed.app) {
            (None, _) => vec![AppRead::Organization],
            (Some(_), None) if unusable(view).is_none() && mismatch(view).is_none() => {
                vec![AppRead::App(id, wanted_since(view))]
            }
            _ => Vec::new(),
        };
    }
    if observed.organization.is_none() || observed.definition_deleting.is_none() {
        return vec![AppRead::Definition, AppRead::Organization];
    }
    if unusable(view).is_some()
        || mismatch(view).is_some()
        || observed.definition_deleting != Some(Observed::Present(false))
    {
        return Vec::new();
    }
    let list = AppRead::List(wanted_since(view));
    match recorded(view.status) {
        Some(id) if observed.app.is_none() => vec![AppRead::App(id, wanted_since(view))],
        Some(_) if observed.app == Some(Observed::Absent) && observed.list.is_none() => vec![list, AppRead::Siblings],
        None if observed.list.is_none() => vec![list],
        _ => Vec::new(),
    }
}

pub(super) fn plan(view: &AppView<'_>) -> Plan<SpiceApp> {
    let idle = |verdict| Plan::idle(view.status, verdict);
    if !view.has_finalizer() {
        return idle(Verdict::Gone);
    }
    if releases_at_once(view) {
        return release(view);
    }
    if let Some(verdict) = waits(view).filter(|_| retains(view)) {
        return idle(verdict);
    }
    if kept(view).is_some() {
        return plan_kept(view);
    }
    match &view.observed.definition_deleting {
        // With the definition every object goes: nobody asked for the apps themselves to go.
        Some(Observed::Present(true) | Observed::Absent) => return release(view),
        Some(Observed::Unknown(failure)) => return idle(unseen(failure)),
        Some(Observed::Present(false)) | None => {}
    }
    if let Some(Verdict::Waiting(reason, words)) = unusable(view) {
        return idle(Verdict::Failed(reason, words, Retry::Backoff));
    }
    if let Some(words) = mismatch(view) {
        return idle(Verdict::Failed(Reason::OrganizationMismatch, words, Retry::Backoff));
    }
    match (recorded(view.status), &view.observed.app, &view.observed.list) {
        (Some(_), Some(Observed::Present(seen)), _) => plan_present(view, seen),
        (Some(id), Some(Observed::Absent), Some(_)) => match absence(view, id) {
            Absence::Certain => release(view),
            Absence::Mass(words) => idle(Verdict::Failed(Reason::OrganizationMismatch, words, Retry::Backoff)),
            // Right after a write of our own, neither shows for certain what is there.
            Absence::Doubtful(_) if view.just_written() => {
                idle(Verdict::Deleting(format!("waiting until the absence of app {id} is certain")))
            }
            Absence::Doubtful(verdict) => idle(verdict),
        },
        (Some(_), Some(Observed::Unknown(failure)), _) | (_, _, Some(Observed::Unknown(failure))) => {
            idle(unseen(failure))
        }
        (None, _, Some(Observed::Present(list))) => plan_unrecorded(view, list),
        _ => idle(Verdict::Deleting("looking for the app".to_owned())),
    }
}

/// Whether nothing remote is to be done, or could have been.
fn releases_at_once(view: &AppView<'_>) -> bool {
    has_nothing(view) || (retains(view) && waits(view).is_none() && kept(view).is_none())
}

/// Whether nothing remote is ours.
fn has_nothing(view: &AppView<'_>) -> bool {
    let untouched = recorded(view.status).is_none() && view.status.create_intent.is_none();
    untouched || view.desired.observes
}

/// What has to go before the app. An app that stays does not wait for what is held up by something: whoever sets Retain
/// wants it gone.
fn waits(view: &AppView<'_>) -> Option<Verdict> {
    let secrets = view.observed.secrets.as_ref()?;
    let first = secrets.going.first().filter(|_| !retains(view) || secrets.stuck == 0)?;
    let more = match secrets.going.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(Verdict::Waiting(Reason::DependencyNotReady, format!("waiting for SpiceSecret {first}{more} to go first")))
}

/// Whether the app stays.
fn retains(view: &AppView<'_>) -> bool {
    match view.desired.deletion_policy {
        Some(DeletionPolicy::Retain) => true,
        Some(DeletionPolicy::Delete) => false,
        None => !created(view.status),
    }
}

/// The id of an app that stays and that our tag is to be taken from. Tried once, and not by an object whose deletion is
/// held up by something: whoever sets Retain then wants it gone.
fn kept(view: &AppView<'_>) -> Option<i64> {
    let tagged = view.status.untagged != Some(true) && !view.observed.let_go;
    recorded(view.status).filter(|_| retains(view) && tagged && view.memory.failures == 0)
}

fn plan_kept(view: &AppView<'_>) -> Plan<SpiceApp> {
    let Some(Observed::Present(seen)) = &view.observed.app else { return release(view) };
    let app = &seen.value;
    if owner(app, view.desired) != Owner::Us || !same_name(app, view.desired) {
        return release(view);
    }
    let mut tags = app.tags();
    tags.retain(|key, _| key != OWNER_TAG && key != INCARNATION_TAG);
    let body = UpdateApp([(AppField::Tags, serde_json::json!(tags))].into());
    let write = AppWrite::LetGo { id: app.id, rests_on: seen.begun, body };
    Plan::remote(view.status.clone(), write, "taking our tag off the app")
}

fn plan_present(view: &AppView<'_>, seen: &Seen<App>) -> Plan<SpiceApp> {
    let app = &seen.value;
    match owner(app, view.desired) {
        _ if !same_name(app, view.desired) => release(view),
        Owner::Another if !came_back(view.status, app) => release(view),
        Owner::Us => delete(view, seen),
        // Our tag is gone, or never was on what our create has brought back: it is put there first, so that the delete rests
        // on an answer that showed it.
        Owner::Another | Owner::Nobody
            if !view.observed.retagged && !view.observed.tags_refused && view.status.untagged != Some(true) =>
        {
            marked(view, seen, view.status.clone())
        }
        // The organization takes no tags: then the recorded id counts.
        Owner::Another | Owner::Nobody => delete(view, seen),
    }
}

/// An intent and no id: the create may have taken effect, or may still.
fn plan_unrecorded(view: &AppView<'_>, list: &Seen<Arc<Vec<App>>>) -> Plan<SpiceApp> {
    let ours = |app: &&App| match owner(app, view.desired) {
        Owner::Us => true,
        Owner::Nobody => find::explained_by_intent(view, app),
        Owner::Another => false,
    };
    let found = list.value.iter().filter(|app| same_name(app, view.desired)).find(ours);
    if let Some(app) = found {
        // The list may be older than what a write by id may rest on: the app itself is read next.
        let mut status = view.status.clone();
        attach(&mut status, view.observed, app);
        let verdict = Verdict::Deleting(format!("found app {}", app.id));
        return Plan::kubernetes(status, KubernetesWrite::StoreStatus, verdict);
    }
    // From the last moment at which the request may have left: it may have waited long for its turn, in this process or
    // in one before. To the begin of the list: one from before says nothing of what took effect since.
    let intent = view.status.create_intent.as_ref().map(|intent| intent.at.0);
    let left = intent.map(|at| at.max(view.memory.since).max(view.memory.last_write.unwrap_or(at)));
    let settled = left.is_none_or(|at| schedule::elapsed(at, list.begun) >= view.waits.create_settles);
    if settled {
        return release(view);
    }
    let words = "waiting until a create that was begun can no longer take effect".to_owned();
    Plan::idle(view.status, Verdict::Deleting(words))
}

fn delete(view: &AppView<'_>, seen: &Seen<App>) -> Plan<SpiceApp> {
    if let Some(verdict) = waits(view) {
        return Plan::idle(view.status, verdict);
    }
    let (id, rests_on) = (seen.value.id, seen.begun);
    let notes = vec![Note::normal("Deleted", format!("deleted app {id}"))];
    Plan { notes, ..Plan::remote(view.status.clone(), AppWrite::Delete { id, rests_on }, format!("deleting app {id}")) }
}

fn release(view: &AppView<'_>) -> Plan<SpiceApp> {
    Plan::kubernetes(view.status.clone(), KubernetesWrite::RemoveFinalizer, Verdict::Gone)
}
