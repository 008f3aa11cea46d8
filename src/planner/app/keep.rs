//! An app that is wanted: find it or create it, and keep it as declared.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::super::{Note, schedule};
use super::fields::{self, Managed, Merge};
use super::validate::ValidSpec;
use super::*;
use crate::api::{CreateIntent, Visibility};

type AppView<'a> = View<'a, SpiceApp>;

pub(super) fn needs(view: &AppView<'_>) -> Vec<AppRead> {
    let observed = view.observed;
    if !view.has_finalizer() || view.desired.suspended || view.desired.spec.is_err() || rests(view) {
        return Vec::new();
    }
    if observed.organization.is_none() || observed.claims.is_none() {
        return vec![AppRead::Organization, AppRead::Claims];
    }
    if unusable(view).is_some() || outranked(view).is_some() {
        return Vec::new();
    }
    let list = AppRead::List(wanted_since(view));
    match view.status.id {
        Some(id)
            if !fresh(view)
                && observed.app != Some(Observed::Absent)
                && !matches!(observed.app, Some(Observed::Unknown(_))) =>
        {
            vec![AppRead::App(id)]
        }
        // A 404 alone is no absence.
        Some(_) if observed.app == Some(Observed::Absent) && observed.list.is_none() => vec![list],
        None if observed.list.is_none() => vec![list],
        _ => Vec::new(),
    }
}

pub(super) fn plan(view: &AppView<'_>) -> Plan<SpiceApp> {
    let idle = |verdict| Plan::idle(view.status, verdict);
    if view.desired.suspended {
        return idle(Verdict::Suspended);
    }
    if !view.has_finalizer() {
        let verdict = Verdict::Working("taking the object up".to_owned());
        return Plan::kubernetes(view.status.clone(), KubernetesWrite::AddFinalizer, verdict);
    }
    let spec = match &view.desired.spec {
        Ok(spec) => spec,
        Err(why) => return idle(Verdict::Stalled(Reason::InvalidSpec, why.clone())),
    };
    if rests(view) {
        return idle(Verdict::Unchanged);
    }
    if let Some(verdict) = unusable(view).or_else(|| outranked(view)) {
        return idle(verdict);
    }
    match view.status.id {
        Some(id) => plan_recorded(view, spec, id),
        None => plan_unrecorded(view, spec),
    }
}

fn rests(view: &AppView<'_>) -> bool {
    // An answer of this visit is judged, whatever the schedule says.
    view.observed.app.is_none() && view.status.create_intent.is_none() && view.rests()
}

/// An app whose id is known.
fn plan_recorded(view: &AppView<'_>, spec: &ValidSpec, id: i64) -> Plan<SpiceApp> {
    let idle = |verdict| Plan::idle(view.status, verdict);
    match &view.observed.app {
        Some(Observed::Present(seen)) => plan_present(view, spec, seen),
        Some(Observed::Absent) => idle(absent_verdict(view, id)),
        Some(Observed::Unknown(failure)) => idle(unseen(failure)),
        None => idle(Verdict::Working("looking for the app".to_owned())),
    }
}

fn plan_present(view: &AppView<'_>, spec: &ValidSpec, seen: &Seen<App>) -> Plan<SpiceApp> {
    let app = &seen.value;
    if let Some(verdict) = not_ours(view, app) {
        return Plan::idle(view.status, verdict);
    }
    let Merge { update, carried, released, drift, abandoned, settled } =
        fields::merge(&desired_fields(view, spec), &view.status.applied, app);
    let mut status = view.status.clone();
    attach(&mut status, app);
    status.applied.extend(settled);
    status.applied.retain(|path, _| !abandoned.contains(path));
    let mut notes: Vec<Note> = abandoned.iter().map(|path| unmanaged(path)).collect();
    if update.0.is_empty() {
        // Fields that are no longer named and no longer there need no write to be forgotten.
        let named = desired_fields(view, spec);
        status.applied.retain(|path, _| named.iter().any(|field| field.path == *path));
        return Plan { notes, ..Plan::idle(&status, Verdict::Settled) };
    }
    let what = described(&carried, &released);
    notes.push(match drift.as_slice() {
        [] => Note::normal("Updated", format!("updated {what}")),
        paths => Note::warning("DriftCorrected", format!("changed outside and put back: {}", paths.join(", "))),
    });
    let write = AppWrite::Update { id: app.id, rests_on: seen.begun, body: update, managed: carried, released };
    Plan { notes, ..Plan::remote(status, write, format!("updating {what}")) }
}

/// A write by id needs an answer that shows our name and our owner. No owner at all is drift of our own tag.
fn not_ours(view: &AppView<'_>, app: &App) -> Option<Verdict> {
    let stop = |words| Some(Verdict::Stalled(Reason::OwnedElsewhere, words));
    if !same_name(app, view.desired) {
        return stop(format!(
            "app {} is called {} and not {}: another app has this id",
            app.id, app.name, view.desired.name
        ));
    }
    match owner(app, view.desired) {
        Owner::Another => stop(format!("app {} ({}) carries another owner's tag", app.id, app.name)),
        Owner::Us | Owner::Nobody => None,
    }
}

/// One 404 and a complete list without the id make an absence; a fresh write of our own may hide it from both.
fn absent_verdict(view: &AppView<'_>, id: i64) -> Verdict {
    match &view.observed.list {
        Some(Observed::Present(list)) if list.value.iter().all(|app| app.id != id) && !view.just_written() => {
            let words = format!("app {id} was deleted outside; delete this object, or make a new one, to go on");
            Verdict::Stalled(Reason::DeletedExternally, words)
        }
        Some(Observed::Unknown(failure)) => unseen(failure),
        _ => {
            let words = format!("app {id} cannot be read, but that it was deleted is not certain yet");
            Verdict::Unseen(Reason::RemoteUnavailable, words, Retry::Backoff)
        }
    }
}

/// No id is known: attach, create, or say who is in the way.
fn plan_unrecorded(view: &AppView<'_>, spec: &ValidSpec) -> Plan<SpiceApp> {
    let idle = |verdict| Plan::idle(view.status, verdict);
    let list = match &view.observed.list {
        Some(Observed::Present(list)) => list,
        Some(Observed::Unknown(failure)) => return idle(unseen(failure)),
        Some(Observed::Absent) | None => return idle(Verdict::Working("looking for the app".to_owned())),
    };
    let Some(app) = list.value.iter().find(|app| same_name(app, view.desired)) else {
        if view.status.create_intent.is_some() && view.just_written() {
            let words = "a create was cut off and may still take effect; looking again before it is repeated";
            return idle(Verdict::Unseen(Reason::RemoteUnavailable, words.to_owned(), Retry::Backoff));
        }
        return plan_create(view, spec);
    };
    match owner(app, view.desired) {
        Owner::Us => {
            let mut status = view.status.clone();
            attach(&mut status, app);
            status.create_intent = None;
            let verdict = Verdict::Working(format!("attached to app {}", app.id));
            Plan::kubernetes(status, KubernetesWrite::StoreStatus, verdict)
        }
        Owner::Another => {
            let words = format!("app {} ({}) belongs to another object or another cluster", app.id, app.name);
            idle(Verdict::Stalled(Reason::OwnedElsewhere, words))
        }
        Owner::Nobody => {
            let words = format!("app {} ({}) exists and was not made by this object", app.id, app.name);
            idle(Verdict::Stalled(Reason::NameTaken, words))
        }
    }
}

fn plan_create(view: &AppView<'_>, spec: &ValidSpec) -> Plan<SpiceApp> {
    let mut status = view.status.clone();
    let kept = status.create_intent.take().filter(|intent| intent.name == view.desired.name);
    let repeated = kept.is_some();
    let id = kept.map_or_else(|| view.fresh_id.to_owned(), |intent| intent.id);
    let incarnation = format!("c-{id}");
    // Each attempt may take effect for as long as the first: the time is that of the last one.
    status.create_intent = Some(CreateIntent { id, name: view.desired.name.clone(), at: Time(view.now) });
    status.incarnation = Some(incarnation);
    let body = match create_body(view, spec, &status) {
        Ok(body) => body,
        Err(verdict) => return Plan::idle(view.status, verdict),
    };
    let carries = |field: &Managed| body_carries(&body, field);
    let with_intent = View { status: &status, ..*view };
    let managed: Vec<Managed> = desired_fields(&with_intent, spec).into_iter().filter(carries).collect();
    let message = format!("creating app {}", body.name);
    let notes = vec![Note::normal("Created", format!("created app {}", body.name))];
    let write = AppWrite::Create { body, managed, repeated };
    Plan { first: Some(KubernetesWrite::StoreStatus), notes, ..Plan::remote(status, write, message) }
}

fn create_body(view: &AppView<'_>, spec: &ValidSpec, status: &SpiceAppStatus) -> Result<CreateApp, Verdict> {
    let named = spec.region.is_some() || spec.cname.is_some() || spec.cluster_name.is_some();
    let default = match &view.observed.organization {
        Some(Observed::Present(organization)) => organization.default_region.clone(),
        _ => None,
    };
    if !named && default.is_none() {
        let words = format!("SpiceOrganization {} knows no default region: set spec.region", view.desired.organization);
        return Err(Verdict::Waiting(Reason::DependencyNotReady, words));
    }
    let visibility = match spec.visibility {
        Some(Visibility::Public) => "public",
        Some(Visibility::Private) | None => "private",
    };
    let with_intent = View { status, ..*view };
    let tags: BTreeMap<String, String> = desired_fields(&with_intent, spec)
        .into_iter()
        .filter_map(|field| Some((field.tag?, field.value.as_str()?.to_owned())))
        .collect();
    Ok(CreateApp {
        name: view.desired.name.clone(),
        visibility: visibility.to_owned(),
        region: if named { spec.region.clone() } else { default },
        cname: spec.cname.clone(),
        cluster_name: spec.cluster_name.clone(),
        description: spec.description.clone(),
        tags,
    })
}

fn body_carries(body: &CreateApp, field: &Managed) -> bool {
    use crate::management::types::AppField::{ClusterName, Description, Region, Tags, Visibility};
    match field.field {
        Tags | Visibility => true,
        Description => body.description.is_some(),
        Region => body.region.is_some(),
        ClusterName => body.cluster_name.is_some(),
        _ => false,
    }
}

/// The spec's fields and our own tags.
fn desired_fields(view: &AppView<'_>, spec: &ValidSpec) -> Vec<Managed> {
    let incarnation = view.status.incarnation.as_deref().map(|value| (INCARNATION_TAG, value));
    let own = [Some((OWNER_TAG, view.desired.owner.as_str())), incarnation];
    let tags = own.into_iter().flatten().map(|(key, value)| fields::managed_tag(key, Value::from(value)));
    spec.managed.iter().cloned().chain(tags).collect()
}

/// Within a cluster, SpiceApps of one organization and one name are one claim.
fn outranked(view: &AppView<'_>) -> Option<Verdict> {
    let own = Claim {
        without_id: view.status.id.is_none(),
        created: view.meta.creation_timestamp.as_ref().map(|time| time.0),
        uid: view.meta.uid.clone().unwrap_or_default(),
        object: String::new(),
    };
    let first = view.observed.claims.iter().flatten().min()?;
    if (first.without_id, first.created, &first.uid) < (own.without_id, own.created, &own.uid) {
        let words = format!("SpiceApp {} stands for app {} already", first.object, view.desired.name);
        return Some(Verdict::Stalled(Reason::NameTaken, words));
    }
    None
}

/// Whether the answer at hand may carry a write.
fn fresh(view: &AppView<'_>) -> bool {
    match &view.observed.app {
        Some(Observed::Present(seen)) => schedule::elapsed(seen.begun, view.now) <= view.waits.evidence,
        _ => false,
    }
}

fn described(carried: &[Managed], released: &[String]) -> String {
    let mut paths: Vec<&str> = carried.iter().map(|field| field.path.as_str()).collect();
    paths.extend(released.iter().map(String::as_str));
    let own = |path: &&str| !path.starts_with("tags.spice-operator-");
    let shown: Vec<&str> = paths.iter().copied().filter(own).collect();
    if shown.is_empty() { "the operator's own tags".to_owned() } else { shown.join(", ") }
}

fn unmanaged(path: &str) -> Note {
    Note::warning("FieldUnmanaged", format!("{path} is no longer in the spec and cannot be cleared: it stays as it is"))
}
